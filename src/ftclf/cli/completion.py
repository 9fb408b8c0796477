"""Tab completion: a script for bash, zsh and fish, and the candidates that all three ask `ftclf completion` for.

Nothing of Hydra is imported: a shell waits for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path

from ftclf.cli.hydra_errors import settings_of
from ftclf.cli.ls import GROUPS, GROUPS_OF, list_groups
from ftclf.cli.options import OPTIONS as RUN_OPTIONS

HYDRA = ("--help", "--cfg", "--info", "--config-dir", "--multirun", "--resolve", "--package", "--hydra-help")
OPTIONS = {
    "train": HYDRA,
    "check": HYDRA,
    "eval": HYDRA,
    "predict": HYDRA,
    "compare": ("--help",),
    "report": ("--help",),
    "merge": ("--help",),
    "ls": ("--help",),
    "completion": ("--help",),
}
CONFIGS = ("job", "hydra", "all")
AFTER_OPTION = {"--cfg": CONFIGS, "-c": CONFIGS, "--info": ("all", "config", "defaults", "plugins", "searchpath")}
ROWS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")


def candidates(words: list[str]) -> list[str]:
    """Return what the last word may become, given those before it, the command first; an ending in = . / goes on."""
    *before, word = words or [""]
    if not before:
        return _starting(word, [*OPTIONS, "--help", "--version"])
    command, previous = before[0], before[-1]
    if command not in OPTIONS:
        return []
    if previous in AFTER_OPTION:
        return _starting(word, AFTER_OPTION[previous])
    if word.startswith("-"):
        return _starting(word, OPTIONS.get(command, ()))
    if command == "completion":
        return _starting(word, SCRIPTS)
    if command == "ls":
        return _starting(word, GROUPS)
    if previous == "--config-dir":
        return _paths(word, files=False)
    if command not in GROUPS_OF:
        return _of_runs(command, word)
    name, equals, value = word.partition("=")
    if equals:
        return [f"{name}={one}" for one in _values(command, name, value, _option_groups(before))]
    settings = [name for name, field in settings_of(command).items() if not is_dataclass(field.default_factory)]
    names = _next_names(word, [f"{name}=" for name in dict.fromkeys([*GROUPS_OF[command], *settings])])
    nameless = [one for one in before[1:] if "=" not in one and not one.startswith("-")]
    of_runs = command in ("eval", "predict")
    wants_run = of_runs and not nameless and not any(one.startswith("checkpoint=") for one in before)
    paths = _paths(word, files=not wants_run, endings=ROWS) if wants_run or word or of_runs else []
    return [*paths, *names] if wants_run else [*names, *paths]


def _of_runs(command: str, word: str) -> list[str]:
    """Return folders and settings of a command that is about runs; the values of its settings are files."""
    name, equals, value = word.partition("=")
    options = RUN_OPTIONS.get(command, {})
    if equals and name in options:
        option = options[name]
        values = _paths(value) if option.example in ("FILE", "FOLDER") else _starting(value, [option.example])
        return [f"{name}={one}" for one in values]
    return [*_paths(word), *_starting(word, [f"{one}=" for one in options])]


def _starting(word: str, options: Iterable[str]) -> list[str]:
    return [option for option in options if option.startswith(word)]


def _next_names(word: str, names: Iterable[str]) -> list[str]:
    """Return settings that a word begins, each up to its next dot: a hundred at once help nobody."""
    cut = [name[: len(word) + name[len(word) :].index(".") + 1] if "." in name[len(word) :] else name for name in names]
    return list(dict.fromkeys(name for name in cut if name.startswith(word)))


def _option_groups(before: list[str]) -> dict[str, list[str]]:
    """Return the options of every group, those of a folder of the user's own among them."""
    groups = {group: [name for name, _ in options] for group, options in list_groups().items()}
    for option, folder in pairwise(before):
        if option in ("--config-dir", "-cd"):
            for group, options in groups.items():
                options += sorted(path.stem for path in Path(folder).expanduser().glob(f"{group}/*.yaml"))
    return groups


def _values(command: str, name: str, value: str, groups: dict[str, list[str]]) -> list[str]:
    """Return the values of a setting that begin so; of several, separated by commas, those of the last."""
    field = settings_of(command).get(name)
    if name in GROUPS_OF[command]:
        choices: Iterable[str] = groups[name]
    elif field is None:
        return []
    elif field.metadata.get("path"):
        return _paths(value)
    else:
        choices = field.metadata.get("choices") or (("true", "false") if isinstance(field.default, bool) else ())
    first, comma, last = value.rpartition(",")
    return [f"{first}{comma}{choice}" for choice in choices if choice.startswith(last)]


def _paths(word: str, *, files: bool = True, endings: tuple[str, ...] = ()) -> list[str]:
    """Return the folders, each with a /, and the files that a word begins; hidden ones where it has the dot."""
    head, slash, start = word.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    names: list[str] = []
    with suppress(OSError, RuntimeError):
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(start) or (path.name.startswith(".") and not start):
                continue
            if path.is_dir():
                names.append(f"{head}{slash}{path.name}/")
            elif files and (not endings or path.suffix.lower() in endings):
                names.append(f"{head}{slash}{path.name}")
    return [name for name in names if name.isprintable()]


# Each hands the words up to the cursor to `--candidates`, unquoted, and quotes what comes back. What ends in = . / is
# not the end of a word.
BASH = r"""
_ftclf() {
  local line="${COMP_LINE:0:COMP_POINT}" current="${COMP_WORDS[COMP_CWORD]}" words=() found
  read -a words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local word="${words[${#words[@]}-1]}" cut=""
  [[ $word == *=* && $current != *=* || $current == "=" ]] && cut="${word%"${word##*=}"}"
  COMPREPLY=()
  while IFS= read -r found; do
    found="$(printf '%q' "${found#"$cut"}")"
    COMPREPLY+=("${found//\\,/,}")
  done < <(ftclf completion --candidates "${words[@]:1}" 2>/dev/null)
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
}
complete -o nosort -F _ftclf ftclf 2>/dev/null || complete -F _ftclf ftclf
"""
ZSH = r"""
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_ftclf() {
  local -a found words_before
  words_before=("${(@Q)words[2,CURRENT-1]}")
  found=(${(f)"$(ftclf completion --candidates "${words_before[@]}" "${(Q)PREFIX}" 2>/dev/null)"})
  compadd -V going_on -S '' -- ${(M)found:#*[=./]}
  compadd -V whole -- ${found:#*[=./]}
}
compdef _ftclf ftclf
"""
FISH = r"""
function __ftclf_candidates
  set -l before (commandline -opc)
  ftclf completion --candidates $before[2..-1] (commandline -ct | string unescape) 2>/dev/null
end
complete -c ftclf -f -k -a '(__ftclf_candidates)'
"""
SCRIPTS = {"bash": BASH.strip(), "zsh": ZSH.strip(), "fish": FISH.strip()}
