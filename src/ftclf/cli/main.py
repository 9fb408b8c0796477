"""The table of commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ftclf import __version__
from ftclf.cli.exit_codes import guarded
from ftclf.config.did_you_mean import command_instead, did_you_mean, pasteable
from ftclf.storage.run_paths import exists
from ftclf.system.console import note
from ftclf.system.errors import ConfigError, UserError, short


@dataclass(frozen=True)
class Command:
    """One verb: what `ftclf --help` says of it and the function that gets the rest of the line."""

    about: str
    run: Callable[[list[str]], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; --help lists what there is")


def train_command(words: list[str]) -> int:
    from ftclf.cli.commands import run_train

    return run_train(words)


def check_command(words: list[str]) -> int:
    from ftclf.cli.commands import run_check

    return run_check(words)


def eval_command(words: list[str]) -> int:
    from ftclf.cli.commands import run_eval

    return run_eval(words)


def predict_command(words: list[str]) -> int:
    from ftclf.cli.commands import run_predict

    return run_predict(words)


def compare_command(words: list[str]) -> int:
    """Print tables over finished runs: scores, best first, means over seeds, and what differs beyond chance."""
    if (read := _read("compare", words)) is None:
        return 0
    from ftclf.cli.compare import compare
    from ftclf.score.significance import MARGIN

    runs, settings = read
    compare(
        runs,
        settings.get("sort"),
        csv_file=settings.get("csv"),
        plot=settings.get("plot"),
        plot_file=settings.get("output", Path("compare.png")),
        margin=settings.get("equal_within", MARGIN),
        flips_file=settings.get("flips"),
    )
    return 0


def report_command(words: list[str]) -> int:
    """Write one HTML file about finished runs."""
    if (read := _read("report", words)) is None:
        return 0
    from ftclf.report.page import write_reports
    from ftclf.system.console import say

    runs, settings = read
    say(f"report: {write_reports(runs, settings.get('output'), overwrite=settings.get('overwrite', False))}")
    return 0


def merge_command(words: list[str]) -> int:
    """Write a LoRA checkpoint as whole weights."""
    if (read := _read("merge", words)) is None:
        return 0
    from ftclf.checkpoint.merge import merge

    runs, settings = read
    if len(runs) > 1:
        raise ConfigError(f"merge: got {len(runs)} folders, allowed: one")
    if "output" not in settings:
        raise ConfigError("output: not given; add output=FOLDER, a new folder")
    merge(runs[0], settings["output"])
    return 0


def _read(command: str, words: list[str]) -> tuple[list[Path], dict[str, Any]] | None:
    """Return the folders and settings of a command line; None where it asks for help, which is printed."""
    from ftclf.cli.options import asks_for_help, help_text, read_words

    if asks_for_help(words):
        print(help_text(command, COMMANDS[command].about))
        return None
    return read_words(command, words)


def ls_command(words: list[str]) -> int:
    """List what can be chosen in each group, one line each."""
    from ftclf.cli.ls import list_groups

    groups = list_groups()
    parser = Parser("ftclf ls", description=COMMANDS["ls"].about)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(groups)}; default: all")
    words = parser.parse_args(words).groups
    for word in words:
        if word not in groups:
            raise ConfigError(f"ls: no group '{word}', allowed: {', '.join(groups)}.{did_you_mean(word, groups)}")
    for group in words or groups:
        print(f"{group}=")
        width = max(len(name) for name, _ in groups[group])
        for name, about in groups[group]:
            print(f"  {name:<{width}}  {about}")
    return 0


def completion_command(words: list[str]) -> int:
    """Print the completion script of a shell, or, for that script, what may be typed next."""
    from ftclf.cli.completion import SCRIPTS, candidates

    if words[:1] == ["--candidates"]:
        print("".join(f"{candidate}\n" for candidate in candidates(words[1:])), end="")
        return 0
    parser = Parser("ftclf completion", description=COMMANDS["completion"].about)
    parser.add_argument("shell", nargs="*", metavar="SHELL", help=f"{', '.join(SCRIPTS)}; default: bash")
    words = parser.parse_args(words).shell or ["bash"]
    if len(words) > 1 or words[0] not in SCRIPTS:
        allowed = ", ".join(SCRIPTS)
        raise ConfigError(f"completion: got '{' '.join(words)}', allowed: {allowed}.{did_you_mean(words[0], SCRIPTS)}")
    print(SCRIPTS[words[0]])
    return 0


COMMANDS = {
    "train": Command("fine-tune a model: dataset, model and method from configs; -m for sweeps", train_command),
    "check": Command("what is wrong with a data set, before anything is trained on it", check_command),
    "eval": Command("score a checkpoint on a split", eval_command),
    "predict": Command("label texts from a file or stdin", predict_command),
    "compare": Command("one table over many runs, best first", compare_command),
    "report": Command("one HTML file about a run, or about several", report_command),
    "merge": Command("a LoRA checkpoint as whole weights, for whatever opens transformers' folders", merge_command),
    "ls": Command("data sets, models, methods, experiments and sweeps that can be chosen", ls_command),
    "completion": Command("tab completion for bash, zsh or fish: a script for the shell to read", completion_command),
}

HELP = ("-h", "--help", "help")

# What the libraries and trackers ask before they report to their makers.
NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_ERROR_REPORTING": "false",
}


def run(words: list[str]) -> int:
    """Run one command line and return its exit code: see docs/runs.md."""
    os.environ.update(NO_TELEMETRY)
    return guarded(lambda: _run(words))


def _run(words: list[str]) -> int:
    words = _without_comment(words)
    if words and words[0] in HELP and words[1:2] and words[1] in COMMANDS:
        words = [words[1], "--help", *(words[2:3] if words[2:3] == ["all"] else [])]
    if not words or words[0] in HELP:
        print(_usage())
        return 0
    if words[0] in ("-V", "version") or "--version" in words:
        print(f"ftclf {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise UserError(f"ftclf: no command '{short(words[0])}'{_other_command(words[0], words[1:])}")
    return COMMANDS[words[0]].run(words[1:])


def _without_comment(words: list[str]) -> list[str]:
    """Leave out what stands behind a lone #: zsh takes no comments where people type, and hands them over."""
    if "#" not in words[:-1]:
        return words
    note("what stands behind # is taken as a comment")
    return words[: words.index("#")]


def _other_command(word: str, rest: list[str]) -> str:
    """Return what to type instead of a word that is no command, as the end of a line."""
    if (answer := command_instead(word, rest)) is not None:
        return f"; {answer}"
    if "=" in word or word.startswith("-") or (Path(word).suffix and exists(word)):
        return f"; the command stands first: ftclf train {' '.join(map(pasteable, [word, *rest]))}"
    return f", allowed: {', '.join(COMMANDS)}.{did_you_mean(word, COMMANDS)}"


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items())
    return f"""\
ftclf {__version__}: fine-tune small encoders for text classification, fully or with LoRA

{commands}

  ftclf train tickets.csv                          a file of your own, with columns text and label
  ftclf train dataset=go_emotions method=lora      one run
  ftclf train -m method.r=4,8,16,32                a sweep
  ftclf COMMAND --help                             settings of a command"""
