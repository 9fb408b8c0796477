"""Old names of settings in yaml files of --config-dir: they are renamed as Hydra reads them, and noted."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from ftclf.config.renamed import new_names, new_references, note_of

SWEEPER = ("hydra", "sweeper")  # the keys of its `params` are names of settings
_used: dict[str, None] = {}  # old names in files that were read since the last note


class RenamingSource(FileConfigSource):
    """Hydra's reader of yaml files, with the names of today."""

    def load_config(self, config_path: str) -> ConfigResult:
        result = super().load_config(config_path)
        if isinstance(result.config, DictConfig):
            package = result.header.get("package") or "_group_"
            group = {"_group_": config_path.rpartition("/")[0].replace("/", "."), "_global_": ""}.get(package, package)
            result.config = _renamed(result.config, group)
        return result


def rename_in_yaml() -> None:
    """Let Hydra read yaml files through `RenamingSource`."""
    Plugins.instance()  # registers its own reader
    SourcesRegistry.instance().types["file"] = RenamingSource


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
