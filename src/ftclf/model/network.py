"""Tokenizer and classifier for given labels, from the files of a model folder: none of them can bring code along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.config import ModelConfig
from ftclf.model.base_weights import WEIGHTS, first_line, refuse_infinite
from ftclf.model.head import fit_output, named_labels
from ftclf.system.errors import OUT_OF_MEMORY, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What building or running a network may end in that was written for something else.
OF_A_NETWORK = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError),
)
NEEDED = "; it needs config.json and model.safetensors of an architecture that transformers knows"


@dataclass
class Classifier:
    """A network with a head for the labels; `random_keys` names the parameters that the base did not have.

    `unused_keys` names those that it had beside the network's, and `head` says what became of a head that it had.
    """

    network: PreTrainedModel
    random_keys: list[str]
    unused_keys: list[str]
    head: str = ""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer of a model folder. One without a token for padding gets one."""
    from transformers import AutoTokenizer

    with refused_as(f"model.name: no usable tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise WeightsError(f"model.name: the tokenizer in {folder} has no fast version (tokenizer.json)")
    files = tokenizer.vocab_files_names.values()
    if not any((folder / name).is_file() for name in files):  # transformers would make one that knows no word
        raise WeightsError(f"model.name: no tokenizer in {folder}, allowed: a folder with {' or '.join(files)}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _pad_token(tokenizer, folder)
    return tokenizer


def _pad_token(tokenizer: Any, folder: Path) -> str:
    """Return the token that fills up a batch where the tokenizer names none: the network's, else the end of a text."""
    number = read_settings(folder).get_text_config().pad_token_id if (folder / "config.json").is_file() else None
    named = tokenizer.convert_ids_to_tokens(number) if isinstance(number, int) else None
    return named or tokenizer.eos_token or tokenizer.unk_token or str(tokenizer.convert_ids_to_tokens(0))


def settle_padding(network: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a network that knows no padding what its batches are filled up with: it may look for a text's last token."""
    settings = network.config.get_text_config()
    if getattr(settings, "pad_token_id", None) is None:
        settings.pad_token_id = tokenizer.pad_token_id


def refuse_other_tokenizer(tokenizer: PreTrainedTokenizerBase, network: Any) -> None:
    """Raise WeightsError for a tokenizer that gives ids which the network has no embedding for."""
    largest, embeddings = max(tokenizer.get_vocab().values()), getattr(word_embeddings(network), "weight", None)
    if embeddings is not None and largest >= len(embeddings):
        raise WeightsError(
            f"model.name: the tokenizer gives ids up to {largest}, the network has {len(embeddings)} embeddings; "
            "the files are of two models"
        )


def word_embeddings(network: Any) -> Any:
    """Return the module that turns ids into vectors, or None where the network names none."""
    try:
        return network.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None


def read_settings(folder: Path) -> Any:
    """Read a model folder's config.json, without what could have transformers load more than model.safetensors."""
    from transformers import AutoConfig

    with refused_as(f"model.name: {folder} is no encoder that can classify", NEEDED):
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name in ("quantization_config", "transformers_weights"):
        if getattr(settings, name, None) is not None:
            raise WeightsError(f"model.name: config.json in {folder} has {name}, allowed: plain weights in {WEIGHTS}")
    if (folder / "adapter_config.json").exists():
        raise WeightsError(f"model.name: {folder} holds an adapter, allowed: the folder of a whole model")
    settings._attn_implementation = None  # it may name a kernel on the hub: code
    if getattr(settings, "attention_type", None) == "block_sparse":
        settings.attention_type = "original_full"  # the network changes it so itself, for good, at the first short text
    return settings


def outline(folder: Path) -> Any:
    """Return the classifier of a model folder without its weights, to be asked what it can do."""
    import torch
    from transformers import AutoModelForSequenceClassification

    settings = read_settings(folder)
    with refused_as(f"model.name: {folder} is no encoder that can classify", NEEDED), torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            settings, trust_remote_code=False
        )


def build_classifier(folder: Path, label_names: list[str], config: ModelConfig) -> Classifier:
    """Build the network with a head for the labels, in float32, from a model folder."""
    from transformers import AutoModelForSequenceClassification

    settings = read_settings(folder)
    trained_for = named_labels(settings)
    with refused_as(f"model.name: {folder} is no encoder that can classify", NEEDED):
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
    missing = set(report["missing_keys"]) - mismatched
    anew, head = fit_output(network, trained_for, missing, mismatched)
    return Classifier(network, sorted({*missing, *mismatched, *anew}), sorted(report["unexpected_keys"]), head)


def longest_text(network: Any) -> int | None:
    """Return how many tokens a network's position embeddings reach, or None where it has no such limit."""
    positions = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 0:
        return None
    return positions - _first_position(network)


def _first_position(network: Any) -> int:
    """Return the position of a text's first token: in networks like RoBERTa the one after the padding id."""
    for name, module in network.named_modules():
        if "position" in name.rpartition(".")[2] and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


@contextmanager
def refused_as(line: str, needed: str = "") -> Iterator[None]:
    """Turn whatever the libraries raise for files that are no model into a WeightsError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (*OF_A_NETWORK, OSError, SafetensorError, StrictDataclassError) as error:
        raise_if_of_memory(error)
        raise WeightsError(f"{line} ({first_line(error)}){needed}") from error


def raise_if_of_memory(error: Exception) -> None:
    """Raise an error again that is not the network's fault."""
    if re.search(OUT_OF_MEMORY, f"{type(error).__name__} {error}", re.IGNORECASE):
        raise error


def _set_dropout(settings: Any, config: ModelConfig) -> None:
    """Set dropout under each architecture's own names; a name that the architecture lacks is an error."""
    hidden = ("hidden_dropout_prob", "dropout", "hidden_dropout", "embedding_dropout", "mlp_dropout")
    of_gpt2 = ("embd_pdrop", "resid_pdrop")
    head = ("seq_classif_dropout", "classifier_dropout", "classifier_dropout_prob", "cls_dropout", "pooler_dropout")
    attention = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
    for key, value, names in (
        ("dropout", config.dropout, (*hidden, *of_gpt2, *head)),
        ("attention_dropout", config.attention_dropout, attention),
    ):
        if value is None:
            continue
        present = [name for name in names if hasattr(settings, name)]
        if not present and value > 0:
            raise WeightsError(f"model.{key}: {settings.model_type} has no such dropout; leave the setting out")
        for name in present:
            if getattr(settings, name) is not None:  # a head's that is null is the hidden states' dropout
                setattr(settings, name, value)
