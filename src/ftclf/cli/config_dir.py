"""The yaml files of --config-dir, looked at before Hydra reads them: each is one that a person may have written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf._utils import get_yaml_loader

from ftclf.cli.text_settings import text_names
from ftclf.storage.small_files import read_small
from ftclf.system.errors import ConfigError, SmallFileError

LIMIT = 1  # MB of one file
MOST_FILES = 1000  # below the folder; it is meant to hold configs
DEPTH = 30  # of lists and groups in one another; ftclf's own have up to 4
MOST_VALUES = 50_000  # of one file, when all aliases are written out


def check_config_dir(folder: Path) -> None:
    """Raise ConfigError for a yaml file below a folder that Hydra would not come to an end with."""
    for number, path in enumerate(_yaml_files(folder)):
        if number == MOST_FILES:
            raise ConfigError(
                f"--config-dir: more than {MOST_FILES:,} yaml files lie below {folder}; name the folder of your configs"
            )
        try:
            problem = _problem(read_small(path, LIMIT))
        except SmallFileError as error:
            raise ConfigError(f"--config-dir: {error}") from error
        except OSError as error:
            raise ConfigError(f"--config-dir: {path} cannot be read ({error.strerror})") from error
        if problem:
            raise ConfigError(f"--config-dir: {path}: {problem}")


def _of_other_type(content: bytes) -> str:
    """Return the line of a text setting that yaml takes for a number or a truth value and writes otherwise.

    `label_column: 2020_2021` would be the column 20202021. The types are those that OmegaConf finds.
    """
    texts, seen = text_names(), set()
    open_nodes = [yaml.compose(content.decode(), Loader=get_yaml_loader())]
    while open_nodes:
        node = open_nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            open_nodes += node.value
            continue
        for key, value in node.value:
            open_nodes.append(value)
            if isinstance(key.value, str) and key.value in texts:
                for one in filter(_rewritten, _scalars(value)):
                    line = one.start_mark.line + 1
                    return f"line {line}: {key.value}: {one.value} is no text to yaml; put it in quotes, '{one.value}'"
    return ""


def _scalars(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield what stands in a node: itself, or the items of its lists and groups."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, *_scalars(value))
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _scalars(one)
    else:
        yield node


def _rewritten(node: yaml.Node) -> bool:
    """Return whether a scalar is a number or a truth value that does not read as it is written."""
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith((":int", ":float", ":bool")):
        return False
    return bool(str(yaml.load(node.value, Loader=get_yaml_loader())) != node.value)


def _yaml_files(folder: Path) -> Iterator[Path]:
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        about = Path(root).stat()
        if (about.st_dev, about.st_ino) in seen:  # a link that leads to one above it
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        yield from (Path(root, name) for name in files if name.endswith((".yaml", ".yml")))


def _problem(content: bytes) -> str:
    """Return what is wrong with a yaml text, or nothing; what is no yaml at all Hydra says better."""
    sizes: list[int] = [0]  # values so far in each list or group that is open, the whole text first
    anchors: dict[str, int] = {}
    open_anchors: list[str | None] = []
    try:
        for event in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.append(1)
                open_anchors.append(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                size, anchor = sizes.pop(), open_anchors.pop()
                sizes[-1] += size
                if anchor is not None:
                    anchors[anchor] = size
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor in open_anchors:
                    return f"*{event.anchor} stands in what it is the name of; write it out"
                sizes[-1] += anchors.get(event.anchor, 1)
            elif isinstance(event, yaml.ScalarEvent):
                sizes[-1] += 1
            if len(sizes) > DEPTH:
                return f"lists and groups more than {DEPTH} deep; no setting is"
            if sum(sizes) > MOST_VALUES:
                return f"more than {MOST_VALUES:,} values when its aliases are written out; no config has as many"
        return _of_other_type(content)
    except (yaml.YAMLError, ValueError):
        return ""
