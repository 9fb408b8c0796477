"""Errors of Hydra and OmegaConf as one line: the setting, what it got, what is allowed, the nearest name."""

from __future__ import annotations

import re
from typing import Any

from ftclf.config import METHODS, DatasetConfig, EvalConfig, PredictConfig, TrainConfig
from ftclf.errors import did_you_mean
from ftclf.listing import GROUPS

SCHEMAS = {"train": TrainConfig, "eval": EvalConfig, "predict": PredictConfig}


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
        line = f"{group}: got '{name}', allowed: {', '.join(options)}.{did_you_mean(name, options)}"
        if group == "dataset" and ("/" in name or "." in name):
            line += f" A file of your own is dataset=files dataset.{'test' if command == 'eval' else 'train'}=FILE"
        return line
    if found := re.search(r"Could not (?:override|append to config)[^']*'([^']+)'|Key '([^']+)' (?:is )?not in", text):
        name = _full_key(text) or key or found[1] or found[2]
        where = re.search(r"In '([^']+)'", text)
        prefix = f"{where[1]}.yaml: " if where else ""
        known = setting_names(command)
        variant = re.search(r"object_type=(\w+)Config", text)
        if name not in known:
            return f"{prefix}{name}: no such setting.{did_you_mean(name, known)}"
        if name.startswith("method.") and variant:
            return f"{prefix}{name}: method={variant[1].lower()} has no such setting; it belongs to another method"
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
        return f"{_full_key(text) or key}: got '{value}', allowed: a list, as in {key}=[a,b]"
    if "sweep parameters" in text.lower() or "multirun" in text.lower():
        return f"{key}: got several values ({value}); add -m to run a sweep over them"
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


def setting_names(command: str) -> list[str]:
    """Return the dotted names of every setting of a command, those of all method variants among them."""
    names: list[str] = list(GROUPS)

    def walk(schema: Any, prefix: str) -> None:
        for name, item in schema.__dataclass_fields__.items():
            names.append(f"{prefix}{name}")
            kind = item.default_factory
            if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
                walk(kind, f"{prefix}{name}.")

    walk(SCHEMAS[command], "")
    if command == "train":
        for variant in METHODS.values():
            walk(variant, "method.")
    if command == "eval":
        walk(DatasetConfig, "dataset.")
    return list(dict.fromkeys(names))
