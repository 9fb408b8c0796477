"""Tokenizer and classifier for given labels, from the files of a model folder: none of them can bring code along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.config import ModelConfig
from ftclf.errors import WeightsError
from ftclf.weights import WEIGHTS, first_line, refuse_infinite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NEEDED = "; it needs config.json and model.safetensors of an architecture that transformers knows"


@dataclass
class Classifier:
    """A network with a head for the labels; `random_keys` names the parameters that the base did not have.

    `unused_keys` names those that it had beside the network's.
    """

    network: PreTrainedModel
    random_keys: list[str]
    unused_keys: list[str]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    with _refused_as(f"model.name: no usable tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise WeightsError(f"model.name: the tokenizer in {folder} has no fast version (tokenizer.json)")
    files = tokenizer.vocab_files_names.values()
    if not any((folder / name).is_file() for name in files):  # transformers would make one that knows no word
        raise WeightsError(f"model.name: no tokenizer in {folder}, allowed: a folder with {' or '.join(files)}")
    return tokenizer


def refuse_other_tokenizer(tokenizer: PreTrainedTokenizerBase, network: Any) -> None:
    """Raise WeightsError for a tokenizer that gives ids which the network has no embedding for."""
    largest, embeddings = max(tokenizer.get_vocab().values()), network.get_input_embeddings().num_embeddings
    if largest >= embeddings:
        raise WeightsError(
            f"model.name: the tokenizer gives ids up to {largest}, the network has {embeddings} embeddings; "
            "the files are of two models"
        )


def read_settings(folder: Path) -> Any:
    """Read a model folder's config.json, without what could have transformers load more than model.safetensors."""
    from transformers import AutoConfig

    with _refused_as(f"model.name: {folder} is no encoder that can classify", NEEDED):
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name in ("quantization_config", "transformers_weights"):
        if getattr(settings, name, None) is not None:
            raise WeightsError(f"model.name: config.json in {folder} has {name}, allowed: plain weights in {WEIGHTS}")
    if (folder / "adapter_config.json").exists():
        raise WeightsError(f"model.name: {folder} holds an adapter, allowed: the folder of a whole model")
    settings._attn_implementation = None  # it may name a kernel on the hub: code
    return settings


def build_classifier(folder: Path, label_names: list[str], config: ModelConfig) -> Classifier:
    """Build the network with a head for the labels, in float32, from a model folder."""
    from transformers import AutoModelForSequenceClassification

    settings = read_settings(folder)
    with _refused_as(f"model.name: {folder} is no encoder that can classify", NEEDED):
        settings.id2label = dict(enumerate(label_names))
        settings.label2id = {name: index for index, name in enumerate(label_names)}
        settings.problem_type = "single_label_classification"
        _set_dropout(settings, config)
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=settings,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # of a head for other labels; it begins anew, as a missing one does
            dtype="float32",
            attn_implementation=None if config.attention == "auto" else config.attention,
        )
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    if any(key.startswith(f"{network.base_model_prefix}.") for key in mismatched):
        raise WeightsError(f"model.name: config.json and {WEIGHTS} in {folder} are of different sizes{NEEDED}")
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()  # they are mapped from the file: what happens to it must not reach them
    refuse_infinite(dict(network.named_parameters()), folder / WEIGHTS)
    return Classifier(network, sorted({*report["missing_keys"], *mismatched}), sorted(report["unexpected_keys"]))


def longest_text(settings: Any) -> int | None:
    """Return how many tokens a network's position embeddings reach, or None where it has no such limit."""
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is None or positions < 0:
        return None
    offset = settings.pad_token_id + 1 if settings.model_type in OFFSET_POSITIONS else 0
    return int(positions - offset)


# Architectures whose positions are counted from behind the padding id.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")


@contextmanager
def _refused_as(line: str, needed: str = "") -> Iterator[None]:
    """Turn whatever the libraries raise for files that are no model into a WeightsError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, AssertionError) as error:
        raise WeightsError(f"{line} ({first_line(error)}){needed}") from error
    except (SafetensorError, StrictDataclassError) as error:
        raise WeightsError(f"{line} ({first_line(error)}){needed}") from error


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
