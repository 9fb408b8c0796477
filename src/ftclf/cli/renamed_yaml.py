"""Old names of settings in yaml files of --config-dir: they are renamed as Hydra reads them, and noted."""

from __future__ import annotations

from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from ftclf.config.renamed import new_names, new_references, note_of

SWEEPER = ("hydra", "sweeper")  # the keys of its `params` are names of settings
_used: dict[str, None] = {}  # old names in files that were read since the last note


def rename_in_yaml() -> None:
    """Let Hydra's reader of yaml files give settings their names of today."""
    Plugins.instance()  # loads the reader, in a module of its own
    reader: Any = SourcesRegistry.instance().types["file"]
    load = reader.load_config
    if getattr(load, "renames", False):
        return

    def load_renamed(source: Any, config_path: str) -> ConfigResult:
        result: ConfigResult = load(source, config_path)
        if isinstance(result.config, DictConfig):
            result.config = _renamed(result.config, _group_of(config_path, result.header.get("package")))
        return result

    load_renamed.renames = True  # type: ignore[attr-defined]
    reader.load_config = load_renamed


def _group_of(config_path: str, package: str | None) -> str:
    """Return the group whose settings a file holds, by its place or the package that it names."""
    if package in (None, "_group_"):
        return config_path.rpartition("/")[0].replace("/", ".")
    return "" if package == "_global_" else str(package)


def renamed_notes() -> list[str]:
    """Return a note for each old name in the files that were read since the last call."""
    notes = [note_of(old) for old in _used]
    _used.clear()
    return notes


def _renamed(config: DictConfig, group: str) -> DictConfig:
    plain = OmegaConf.to_container(config, resolve=False)
    if not isinstance(plain, dict):
        return config
    renamed = new_names(plain, group, _used)
    holder: Any = renamed
    for part in SWEEPER:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and isinstance(holder.get("params"), dict):
        holder["params"] = new_names(holder["params"], "", _used)
    renamed = _references(renamed)
    return config if renamed == plain else OmegaConf.create(renamed)


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_references(item) for item in value]
    return new_references(value) if isinstance(value, str) else value
