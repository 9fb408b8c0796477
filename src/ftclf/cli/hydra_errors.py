"""Errors of Hydra and OmegaConf as one line: the setting, what it got, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import Field
from typing import Any

from ftclf.cli.ls import GROUPS
from ftclf.config import VARIANTS, CheckConfig, DatasetConfig, EvalConfig, PredictConfig, TrainConfig, every_variant
from ftclf.config.did_you_mean import did_you_mean, instead, pasteable, synonym

SCHEMAS = {"train": TrainConfig, "eval": EvalConfig, "predict": PredictConfig, "check": CheckConfig}


def explain(error: BaseException, override: str, command: str) -> str:
    """Return one line: the setting, what it got, what is allowed, the nearest name."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    text = " ".join(" ".join(str(part) for part in chain).split())
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if found := re.search(r"Could not find '([\w/]+)/([^']+)'.*?Available options in '[\w/]+': ?(.*)", text):
        group, name, given = found[1], found[2], value.strip("'\"")
        if f"{group}/{name}" == f"{key}/{given}":  # slashes in it are the name's
            group, name = key, given
        options = re.findall(r"[\w.-]+", re.split(r"Config search path", found[3])[0])
        options = [option for option in options if not option.endswith("_schema")]
        return f"{group}: got '{name}', allowed: {', '.join(options)}{_other_option(group, name, options, command)}"
    if found := re.search(r"Could not (?:override|append to config)[^']*'([^']+)'|Key '([^']+)' (?:is )?not in", text):
        name = _full_key(text) or key or found[1] or found[2]
        where = re.search(r"In '([^']+)'", text)
        prefix = f"{where[1]}.yaml: " if where else ""
        variant = re.search(r"object_type=(\w+)Config", text)
        if name not in setting_names(command):
            return prefix + no_such_setting(name, command, value)
        if variant and (group := name.partition(".")[0]) in VARIANTS:
            return f"{prefix}{name}: {_of_another_variant(group, name.rpartition('.')[2], variant[1])}"
    if found := re.search(r"Unsupported interpolation type ([\w.]+)|Recursive interpolation|Interpolation \w+", text):
        got = f"'${{{found[1]}:...}}'" if found[1] else "an interpolation that leads nowhere"
        return f"{_full_key(text) or key}: got {got}, allowed: a value, or the name of another setting as in ${{name}}"
    if found := re.search(r"Value '(.*?)' .*?could not be converted to (\w+)|Value '(.*?)' is not a valid (\w+)", text):
        kinds = {
            "Integer": "a whole number",
            "Float": "a number",
            "bool": "true or false",
            "Boolean": "true or false",
        }
        got, kind = (found[1], found[2]) if found[2] else (found[3], found[4])
        return f"{_full_key(text) or key}: got '{got}', allowed: {kinds.get(kind, kind.lower())}"
    if (
        "mismatched input" in text
        or "no viable alternative" in text
        or "token recognition" in text
        or "extraneous" in text
        or "LexerNoViableAlt" in text
    ):
        return f"{override}: cannot be read; write setting=value, with quotes around values that hold = , or spaces"
    if "is not a ListConfig" in text:
        return f"{_full_key(text) or key}: got '{value}', allowed: a list, as in '{key}=[a,b]'"
    if "sweep parameters" in text.lower() or "multirun" in text.lower():
        return f"{key}: got several values ({value}); {_for_several(key, value, command)}"
    if key in GROUPS and value in ("null", "None", ""):
        return f"{key}: got null, allowed: one of its options; ftclf ls {key} lists them"
    if "not Optional" in text or "non-optional" in text.lower():
        return f"{_full_key(text) or key}: got null, allowed: a value"
    if command == "eval" and key.startswith("dataset."):
        return f"{key}: which data? Choose it too, as in dataset=files dataset.test=new.csv"
    return f"{override or 'config'}: {text[:300]}"


def _full_key(text: str) -> str:
    found = re.search(r"full_key: ([\w.\[\]]+)", text)
    return found[1] if found else ""


def no_such_setting(name: str, command: str, value: str = "") -> str:
    """Return the line about a name that no setting has: what to type instead, or the nearest name."""
    plain = name.rpartition(".")[2]
    if name == plain and len(several := owners(command, name)) > 1:
        return f"{name}: no such setting; write {' or '.join(pasteable(f'{one}={value}') for one in several)}"
    if (other := instead(command, name, value)) is not None:
        return f"{name}: no such setting; {other}"
    guess = did_you_mean(name, setting_names(command))
    if not guess and name == plain and (nearest := nearest_setting(name, command)):
        guess = f" Did you mean '{nearest}'?"
    return f"{name}: no such setting.{guess}"


def nearest_setting(name: str, command: str) -> str | None:
    """Return the setting whose last name is the nearest to one that is mistyped."""
    last_names = {one.rpartition(".")[2] for one in settings_of(command)}
    nearest = difflib.get_close_matches(name[:100], sorted(last_names), n=1, cutoff=0.75)
    return owners(command, nearest[0])[0] if nearest and owners(command, nearest[0]) else None


def _other_option(group: str, name: str, options: list[str], command: str) -> str:
    """Return what to type instead of an option that a group does not have, as the end of a line."""
    if (known := synonym(group, name)) is not None:
        return f"; write {group}={known}"
    if group == "dataset" and ("/" in name or "." in name):
        split = "test" if command == "eval" else "train"
        return f"; write dataset=files {pasteable(f'dataset.{split}={name}')}"
    if guess := did_you_mean(name, options):
        return f".{guess}"
    return f"; another model: {pasteable(f'model.name={name}')}" if group == "model" else "."


def _of_another_variant(group: str, field: str, variant: str) -> str:
    """Say that the chosen variant of a group, by the name of its dataclass, lacks a setting, and which ones have it."""
    kinds = [kind for kind, schema in VARIANTS[group].items() if schema.__name__ == f"{variant}Config"]
    owners = [f"{group}={kind}" for kind, schema in VARIANTS[group].items() if field in schema.__dataclass_fields__]
    chosen = f"{group}={kinds[0]}" if len(kinds) == 1 else f"this {group}"
    return f"{chosen} has no such setting; it is one of {', '.join(owners)}"


def _for_several(key: str, value: str, command: str) -> str:
    if command == "train":
        return "add -m to run a sweep over them"
    plain = value.strip("'\"")
    quoted = f"\"{key}='{plain}'\"" if re.fullmatch(r"[\w.,:/@%+ -]+", plain) else None
    return f"{command} takes one" + (f"; a comma that belongs to it stands in quotes: {quoted}" if quoted else "")


@functools.cache
def settings_of(command: str) -> dict[str, Field[Any]]:
    """Return the field of every setting of a command by its dotted name, all variants of its groups included."""
    found: dict[str, Field[Any]] = {}

    def walk(schema: Any, prefix: str) -> None:
        for name, item in schema.__dataclass_fields__.items():
            found.setdefault(f"{prefix}{name}", item)
            kind = item.default_factory
            if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
                walk(kind, f"{prefix}{name}.")

    walk(SCHEMAS[command], "")
    if command == "train":
        for group, variant in every_variant():
            walk(variant, f"{group}.")
    if command == "eval":
        walk(DatasetConfig, "dataset.")
    return found


def setting_names(command: str) -> list[str]:
    """Return the dotted names of every setting of a command, and the groups."""
    return list(dict.fromkeys([*GROUPS, *settings_of(command)]))


def owners(command: str, name: str) -> list[str]:
    """Return the settings that a last name may mean, that of `training` alone where it has one."""
    found = [one for one in settings_of(command) if one.rpartition(".")[2] == name and not one.startswith("model.pin.")]
    return [f"training.{name}"] if f"training.{name}" in found else found
