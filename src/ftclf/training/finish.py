"""The last that a run writes: manifest, card, report, and the metrics whose presence means finished."""

from __future__ import annotations

import math
import shlex
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf import __version__
from ftclf.config import HEADLINES, TrainConfig, choosing_metric
from ftclf.config.did_you_mean import pasteable
from ftclf.score.wording import headline_table, score_name
from ftclf.storage.durable import sync_files
from ftclf.storage.run_folder import Run, read_history, read_json, write_json, write_text
from ftclf.storage.run_paths import from_here
from ftclf.system.console import BAD, GOOD, OPEN, say
from ftclf.system.errors import RunError
from ftclf.system.progress_bar import phase
from ftclf.system.tables import say_table
from ftclf.system.text import counted
from ftclf.training.prepare import Prepared, PreparedNetwork

if TYPE_CHECKING:
    from ftclf.model.method import Parameters
    from ftclf.score.evaluation import Evaluation


OF_THE_DATA = ("dataset", "decision")  # settings that another method is trained with too


@dataclass
class Fitted:
    """What training left behind besides the checkpoint. `examples` and `seconds` are of training alone."""

    parameters: Parameters
    engine: str  # that made the steps, see fast/
    steps: int
    kept_step: int  # whose weights the checkpoint holds
    examples: int
    seconds: float
    seconds_before: float = 0.0  # of training by the processes that a resumed run had before
    reload_difference: float = 0.0
    milliseconds_per_text: float = 0.0


def finished_before(config: TrainConfig, run: Run) -> float:
    """Say that there is nothing left to do, and do what a kill after the last step but one left undone."""
    from ftclf.score.evaluation import headline

    metrics = read_json(run.metrics)
    try:
        told = headline(metrics["test"], config.dataset.task)
        found = float(metrics["validation"][choosing_metric(config)])
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{run.metrics}: it holds no scores of this run; begin again with overwrite=true") from error
    _clear_up(config, run)
    say(f"{run.folder} holds this run, finished: test {told}")
    return found


def plot_run(prepared: Prepared) -> None:
    from ftclf.report.plots import plot_history

    history = read_history(prepared.run.history)
    plot_history(prepared.run.plots / "history.png", history, choosing_metric(prepared.config))


def made_with(prepared: Prepared, fitted: Fitted, command: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Return what the run was made with."""
    from ftclf.model.compute import describe_machine, peak_memory_mb
    from ftclf.system.versions import git_commit, versions

    config, data = prepared.config, prepared.data
    return {
        "command": command,
        "ftclf": __version__,
        "dataset": data.name,
        "task": data.task,
        "rows": {name: len(split) for name, split in data.splits.items()},
        "rows_per_epoch": prepared.sampler.rows,
        "label_rows": {
            name: split.rows_per_label(len(data.label_names)).tolist() for name, split in data.splits.items()
        },
        "sources": {name: split.places.source if split.places else None for name, split in data.splits.items()},
        **prepared.rows_made,
        "digests": prepared.digests,
        "notes": data.notes,
        "base": prepared.base,
        "parameters": {**asdict(fitted.parameters), "share": fitted.parameters.share},
        "engine": fitted.engine,
        "seed": config.training.seed,
        "steps": fitted.steps,
        "kept_step": fitted.kept_step,
        "tokens_from_cache": prepared.from_cache,
        "texts_at_max_length": prepared.texts_at_max_length,
        "examples_per_second": round(fitted.examples / fitted.seconds, 1) if fitted.seconds > 0 else None,
        "milliseconds_per_text": fitted.milliseconds_per_text,
        "peak_memory_mb": round(peak_memory_mb()),
        "reload_difference": fitted.reload_difference,
        "compute": asdict(prepared.compute),
        "machine": describe_machine(),
        "versions": versions(),
        "git_commit": git_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": seconds,
    }


def write_card(
    prepared: Prepared,
    folder: Path,
    evaluations: dict[str, Evaluation],
    metrics: dict[str, Any],
    manifest: dict[str, Any],
) -> None:
    from ftclf.report.card import examples, model_card

    data = prepared.data
    shown = examples(evaluations["validation"], data.splits["validation"], data.label_names)
    write_text(folder / "README.md", model_card(prepared.config, data, metrics, manifest, shown))


def finish(prepared: Prepared, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Write the manifest and, last, the metrics; print the score."""
    config, run = prepared.config, prepared.run
    write_json(run.manifest, manifest)
    for folder in (run.predictions, run.plots):
        sync_files(folder)
    write_json(run.metrics, metrics)
    run.failure.unlink(missing_ok=True)
    _clear_up(config, run)
    _say_scores(prepared, metrics, manifest)
    _say_next(run)


def _say_scores(prepared: Prepared, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Print the table of headline scores, the first of them, and how it does against the best baseline."""
    from ftclf.score.baselines import against_strongest, strongest
    from ftclf.score.evaluation import with_interval

    task, test = prepared.data.task, metrics["test"]
    name, rows = HEADLINES[task][0], counted(manifest["rows"]["test"], "row")
    kept, steps = manifest["kept_step"], manifest["steps"]
    after = f"; kept: the weights after step {kept} of {steps}" if steps else ""
    say_table(headline_table(metrics, "test", task, title=f"test, {rows}{after}"))
    say(f"{score_name(name)} {with_interval(test, name)}", "bold")
    if metrics["baselines"]:
        best, (_, low, high) = strongest(metrics, task)
        say(f"{score_name(name)} {against_strongest(metrics, task)}", GOOD if low > 0 else BAD if high < 0 else OPEN)
        if low <= 0:
            say(f"  {_what_may_help(prepared, manifest)}")
        if best == "tfidf" and high < 0:
            say(f"  or keep TF-IDF: {tfidf_command(manifest['command'])}")


def _say_next(run: Run) -> None:
    """Print where the report is, and what to type next."""
    folder = pasteable(from_here(run.folder))
    if run.report.is_file():
        say(f"report: {pasteable(from_here(run.report))}")
    say(f"next: ftclf predict {folder} 'a text'")


def tfidf_command(command: str) -> str:
    """Return what to type for a TF-IDF model of the data that a command trained on."""
    words = shlex.split(command)
    if words[:2] != ["ftclf", "train"] or any(word.startswith("resume=") for word in words):
        return "method=tfidf on the same data"
    same = [word for word in words[2:] if word.lstrip("+").startswith(OF_THE_DATA)]
    return " ".join(["ftclf train", *map(pasteable, same), "method=tfidf"])


def _what_may_help(prepared: Prepared, manifest: dict[str, Any]) -> str:
    """Return what to try first where a baseline is better, or the comparison is inconclusive."""
    from ftclf.model.network import longest_text, outline
    from ftclf.report.facts import ENOUGH_STEPS, FEW_STEPS, MANY_CUT

    if not isinstance(prepared, PreparedNetwork):
        return "the words say little about the labels: try a network, method=lora, or more rows"
    config, rows = prepared.config, manifest["rows"]["train"]
    cut, length = manifest["texts_at_max_length"]["train"] / rows, config.dataset.max_length
    longer = min(2 * length, longest_text(outline(prepared.weights.folder)) or 2 * length)
    if cut > MANY_CUT and longer > length:
        return f"{cut:.0%} of its texts are cut: try dataset.max_length={longer}"
    if config.method.kind == "head":
        return "the encoder stays as it is: try method=lora"
    if manifest["steps"] < FEW_STEPS:
        few = counted(manifest["steps"], "step")
        return f"a classifier learns little in {few}: try training.max_steps={ENOUGH_STEPS}"
    if manifest["kept_step"] == manifest["steps"] and config.training.max_steps is None and config.training.epochs:
        return f"the last weights were kept: try training.epochs={2 * math.ceil(config.training.epochs)}"
    return "try a larger encoder, model=distilbert or model=minilm_l12, or more rows"


def _clear_up(config: TrainConfig, run: Run) -> None:
    """Write the report of a finished run and remove what only an unfinished one needs."""
    from ftclf.report.page import page_or_warning, write_report

    if not run.report.exists():
        again = shlex.join(["ftclf", "report", str(run.folder)])
        with page_or_warning(run.report, again=again), phase("report"):
            write_report([run], run.report)
    if not config.training.keep_checkpoints:
        shutil.rmtree(run.resumable, ignore_errors=True)
