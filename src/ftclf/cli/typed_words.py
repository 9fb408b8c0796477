"""Command lines as people type them: files, texts and runs without a name, `--epochs 3`, `epochs=3`.

What has one meaning is put into ftclf's own form, with a note where a name was completed. The rest stays as it is, and
`explain` answers it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ftclf.cli.hydra_errors import nearest_setting, owners, setting_names, settings_of
from ftclf.cli.hydra_guard import OPTIONS_WITH_VALUE, hydra_options
from ftclf.cli.ls import GROUPS, list_groups
from ftclf.cli.quoting import quoted
from ftclf.config.did_you_mean import ABSENT, NAMES, SWITCHES, pasteable
from ftclf.config.renamed import RENAMED, new_name, new_references, note_of
from ftclf.storage.run_paths import exists
from ftclf.system.errors import ConfigError

OPTION = re.compile(r"--[A-Za-z][\w.-]*(=.*)?|-[A-Za-z]{1,3}", re.DOTALL)
SETTING = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@:-]*=")
# Files of rows by their endings, also those that are refused later with a word on how to convert them.
ENDINGS = "csv|tsv|tab|json|jsonl|ndjson|parquet|pq|txt|xlsx?|ods|arrow|feather|gz|zip|bz2|xz|zst"
ROWS = re.compile(rf"\S+\.({ENDINGS})", re.IGNORECASE)
SPLITS = ("train", "validation", "test")


def settled(command: str, words: list[str]) -> tuple[list[str], list[str]]:
    """Return a command line in the form that Hydra reads, and a note on every name that was completed.

    Raises ConfigError for words without a name that have no one meaning.
    """
    if {"-sc", "--shell-completion"} & set(words):
        return list(words), []
    notes: list[str] = []
    options, typed, nameless = _sorted(command, [_with_new_name(command, word, notes) for word in words])
    settings = [_with_full_name(command, word, notes) for word in typed]
    place = {"eval": _run_and_data, "predict": _run_and_texts}.get(command, _data_of_train)
    return [*options, *place(nameless, settings), *settings], notes


def as_settings(command: str, words: list[str]) -> list[str]:
    """Return the words of a command line as they were typed, but `--fix clean` as fix=clean; Hydra's options go."""
    _, settings, nameless = _sorted(command, words)
    return [*nameless, *settings]


def with_files(command: str, words: list[str]) -> list[str]:
    """Return the words of a command line with the data set that files of `eval` are of, unless it is given."""
    given = any(word.startswith("dataset=") for word in words)
    if command == "eval" and not given and any(word.startswith("dataset.") for word in words):
        return [*words, "dataset=files"]
    return words


# ---- options and names


def _sorted(command: str, words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return Hydra's options, the settings (`--epochs 3` as epochs=3 among them), and the words without a name."""
    options: list[str] = []
    settings: list[str] = []
    nameless: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if OPTION.fullmatch(word):
            if (setting := _as_setting(command, word, rest)) is not None:
                settings.append(setting)
                continue
            options.append(word)
            if word in OPTIONS_WITH_VALUE and rest:
                options.append(rest.pop(0))
        else:
            (settings if _is_setting(command, word) else nameless).append(word)
    return options, settings, nameless


def _is_setting(command: str, word: str) -> bool:
    if command in ("train", "check"):  # they take no texts
        return "=" in word or word.startswith("~")
    return bool(SETTING.match(word)) and not exists(word)


def _as_setting(command: str, word: str, rest: list[str]) -> str | None:
    """Return an option that is none of Hydra's as a setting, taking its value from the words behind it."""
    option, equals, value = word.partition("=")
    name = option.removeprefix("--").replace("-", "_")
    if option in hydra_options() or not option.startswith("--"):
        return None
    if equals:
        return f"{name}={value}"
    several = owners(command, name)
    field = settings_of(command).get(name) or settings_of(command).get(several[0] if several else "")
    switch = command == "train" and name in SWITCHES
    habits = {*GROUPS, *NAMES[command], *ABSENT[command]}
    if field is None and not switch and name not in habits and not nearest_setting(name, command):
        return None  # argparse refuses it
    if rest and rest[0].lower() in ("true", "false"):
        return f"{name}={rest.pop(0)}"
    alone = not rest or OPTION.fullmatch(rest[0]) or SETTING.match(rest[0])
    if switch or alone or (field is not None and isinstance(field.default, bool)):
        return f"{name}=true"
    return f"{name}={rest.pop(0)}"


def _with_new_name(command: str, word: str, notes: list[str]) -> str:
    """Return a word with the name that its setting has today, and note it."""
    found = re.fullmatch(r"(--|\+{0,2})([\w.]+)(=.*)?", word, re.DOTALL)
    if found is None or command == "predict":  # it has none of them, and texts of all kinds
        return word
    start, name, rest = found[1], found[2], found[3] or ""
    short = {old.rpartition(".")[2]: old for old in RENAMED}
    old = name if name in RENAMED else short.get(name, name)
    if old not in RENAMED or owners(command, name) or new_name(old) not in settings_of(command):
        return f"{start}{name}{new_references(rest)}"
    if not rest and not start:  # a word without a value
        return word
    notes.append(note_of(old))
    return f"{start}{new_name(old)}{new_references(rest)}"


def _with_full_name(command: str, word: str, notes: list[str]) -> str:
    """Return a setting by its full name where its last name is that of one setting, and note it."""
    name, _, value = word.partition("=")
    if not name.isidentifier() or name in setting_names(command):
        return word
    several = owners(command, name)
    if len(several) != 1:
        return word
    notes.append(f"{word} is taken as {several[0]}={value}")
    return f"{several[0]}={value}"


def _keys(settings: Sequence[str]) -> dict[str, str]:
    return {word.partition("=")[0].lstrip("+"): word.partition("=")[2] for word in settings}


# ---- words without a name


def _data_of_train(nameless: list[str], settings: list[str]) -> list[str]:
    """Return a file of rows, or a folder of them, as settings; other words are answered, or left to `parse`."""
    files = [word for word in nameless if _is_data(word)]
    for place, word in enumerate(nameless):
        if word not in files and (answer := _answer(word, nameless[place + 1 :])):
            raise ConfigError(f"{word}: not an assignment; write {answer}")
    others, given = [word for word in nameless if word not in files], _keys(settings)
    if len(files) > 1:
        raise ConfigError(f"{' '.join(files)}: several files; write ftclf train dataset=files {_parts(files)}")
    for word in files:
        if chosen := next((key for key in ("dataset.train", "dataset") if given.get(key, "files") != "files"), None):
            raise ConfigError(f"{word}: {chosen}={given[chosen]} names rows too; drop one of the two")
        return [*others, "dataset=files", f"dataset.train={quoted(word)}"]
    return others


def _is_data(word: str) -> bool:
    if not exists(word):
        return bool(ROWS.fullmatch(word))
    path = Path(word).expanduser()
    if path.is_dir():
        return not _is_run(path) and not _is_model(path) and any(child.is_dir() for child in path.iterdir())
    return bool(ROWS.fullmatch(word)) or (path.is_file() and path.suffix not in (".yaml", ".yml"))


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file() and any((path / name).exists() for name in ("manifest.json", "resumable"))


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and not _is_run(path)


def _answer(word: str, behind: list[str]) -> str | None:
    """Return what to type instead of a word that names no rows."""
    path = Path(word).expanduser()
    if word == "help":
        return "ftclf train --help"
    if behind and (owners("train", word) or word in {*GROUPS, *NAMES["train"], *settings_of("train")}):
        return pasteable(f"{word}={behind[0]}")
    if _is_run(path):
        return pasteable(f"resume={word}")
    if _is_model(path):
        return pasteable(f"model.name={word}")
    if path.suffix in (".yaml", ".yml"):
        return f"--config-dir FOLDER dataset={pasteable(path.stem)}, with the file as FOLDER/dataset/{path.name}"
    groups = [group for group, options in list_groups().items() if word in {name for name, _ in options}]
    return f"{groups[0]}={word}" if groups else None


def _parts(files: Sequence[str]) -> str:
    """Return the settings that several files of rows may be meant by: by their names, else by their order."""
    signs = {"validation": r"val|dev", "test": r"test|eval|hold"}
    parts = {
        split: word
        for word in files
        for split, sign in signs.items()
        if re.search(sign, Path(word).stem, re.IGNORECASE)
    }
    others = [word for word in files if word not in parts.values()]
    free = [split for split in ("train", "test", "validation") if split not in parts]
    parts |= dict(zip(free, others, strict=False))
    return " ".join(pasteable(f"dataset.{split}={parts[split]}") for split in SPLITS if split in parts)


def _run_and_data(nameless: list[str], settings: list[str]) -> list[str]:
    """Return `RUN [FILE] [SPLIT]` as settings."""
    taken, rest = _run("eval", nameless, settings)
    given = _keys(settings)
    for word in rest:
        if word in SPLITS:
            taken.append(f"split={word}")
        elif "dataset" in given:
            raise ConfigError(f"{word}: dataset={given['dataset']} names rows too; drop one of the two")
        elif ROWS.fullmatch(word) or exists(word):
            taken += ["dataset=files", f"dataset.{given.get('split', 'test')}={quoted(word)}"]
        else:
            _refuse(f"{word}: no such file; ftclf eval RUN FILE scores the rows of a file")
    if sum(word == "dataset=files" for word in taken) > 1:
        _refuse(f"{' '.join(rest)}: several files; run ftclf eval once for each")
    return taken


def _run_and_texts(nameless: list[str], settings: list[str]) -> list[str]:
    """Return `RUN [FILE]` or `RUN [TEXT ...]` as settings."""
    taken, rest = _run("predict", nameless, settings)
    files = [word for word in rest if ROWS.fullmatch(word) or exists(word)]
    if rest and "input" in _keys(settings):
        _refuse(f"input: given, and so is {rest[0]}; drop one of the two")
    if len(files) > 1 or (files and len(rest) > 1):
        _refuse(f"{files[0]}: got {len(rest)} files and texts, allowed: one file, or texts; run ftclf predict again")
    if files:
        return [*taken, f"input={quoted(files[0])}"]
    return [*taken, f"texts=[{','.join(map(quoted, rest))}]"] if rest else taken


def _run(command: str, nameless: list[str], settings: list[str]) -> tuple[list[str], list[str]]:
    """Return the run that a line names first, as a setting, and the words behind it."""
    if not nameless or "checkpoint" in _keys(settings):
        return [], nameless
    run, rest = nameless[0], nameless[1:]
    if (ROWS.fullmatch(run) and not _in_run(run)) or (re.search(r"\s", run) and not exists(run)):
        right = next((word for word in rest if exists(word)), "RUN")
        _refuse(
            f"checkpoint: no folder {run}; the run stands first: ftclf {command} {pasteable(right)} {pasteable(run)}"
        )
    return [f"checkpoint={quoted(run)}"], rest


def _in_run(word: str) -> bool:
    """Return whether a file is one of those that runs and checkpoints are made of."""
    folder = Path(word).expanduser().parent
    return exists(word) and any(
        (above / name).is_file() for above in (folder, folder.parent) for name in ("ftclf.json", "manifest.json")
    )


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)
