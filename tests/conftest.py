"""Tiny real models and small real files: everything here runs offline and in seconds."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

# A closed port instead of the hub: what needs a network fails at once. Read when huggingface_hub is imported.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels for a GPU run in Python

from ftclf.cli.main import run
from ftclf.storage.run_folder import Run

TOPICS = {
    "food": ["soup", "bread", "cheese", "tasty", "kitchen", "salt", "oven", "dinner", "pepper", "apple"],
    "space": ["rocket", "planet", "orbit", "star", "moon", "comet", "gravity", "engine", "telescope", "mars"],
    "sport": ["goal", "match", "team", "referee", "score", "ball", "stadium", "league", "coach", "win"],
}
COMMON = ["the", "a", "was", "very", "really", "not", "and", "of", "in", "with", "new", "old"]


def make_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, label) rows that a tiny model can learn, all texts different."""
    chooser = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = list(TOPICS)[len(rows) % len(TOPICS)]
        words = chooser.choices(TOPICS[label], k=3) + chooser.choices(COMMON, k=chooser.randint(1, 9))
        chooser.shuffle(words)
        rows.setdefault(" ".join(words), label)
    return list(rows.items())


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


MODELS = ("bert", "bert_no_pooler", "distilbert", "roberta")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoders of two layers with a word tokenizer: bert, bert without a pooler, distilbert and roberta."""
    return make_models(tmp_path_factory.mktemp("models"))


def word_tokenizer(*, padded: bool = True) -> Any:
    """Return a fast tokenizer of the words of the tiny rows; without `padded` it names no token for padding."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({w for topic in TOPICS.values() for w in topic} | set(COMMON))]
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]"}
    if padded:
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def make_models(root: Path, names: Sequence[str] = MODELS, seed: int = 0) -> dict[str, Path]:
    """Write tiny models below a folder, each with its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

    tokenizer = word_tokenizer()
    # A wide start, so that the frozen layers under an adapter tell words apart as trained ones do.
    size = {"vocab_size": len(tokenizer), "pad_token_id": 0, "initializer_range": 0.3}
    bert = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **size}
    torch.manual_seed(seed)
    networks = {
        "bert": BertModel(BertConfig(**bert, max_position_embeddings=128)),
        "bert_no_pooler": BertModel(BertConfig(**bert, max_position_embeddings=128), add_pooling_layer=False),
        "distilbert": DistilBertModel(
            DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=128, **size)
        ),
        "roberta": RobertaModel(RobertaConfig(**bert, max_position_embeddings=129), add_pooling_layer=False),
    }
    for name in names:
        networks[name].save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in names}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTCLF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "hub"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A csv file of 240 rows and 3 labels."""
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", make_rows(240))


TrainTiny = Callable[..., Run]


@pytest.fixture
def train_tiny(tiny_models: dict[str, Path], reviews: Path, tmp_path: Path) -> TrainTiny:
    """Train a tiny model by the command; words override. Returns the finished run."""

    def train(*words: str, model: str = "bert", folder: str = "run") -> Run:
        code = run(tiny_words(tiny_models[model], reviews, tmp_path / folder, *words))
        assert code == 0
        return Run(tmp_path / folder)

    return train


def tiny_words(model: Path, data: Path, folder: Path, *words: str) -> list[str]:
    """Return the command line of a tiny training run."""
    epochs = [] if any(word.startswith("training.max_steps=") for word in words) else ["training.epochs=2"]
    return [
        "train",
        "dataset=files",
        f"dataset.train={data}",
        f"model.name={model}",
        f"run_dir={folder}",
        *epochs,
        "training.learning_rate=5e-3",
        "training.precision=fp32",
        *words,
    ]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], reviews: Path) -> Run:
    """One finished LoRA run that tests read and none changes."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    os.environ["FTCLF_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    # The rate of the other tiny runs is too much for so many steps: what they end in is chance.
    words = ["training.epochs=30", "training.batch_size=8", "training.learning_rate=2e-3"]
    words += ["decision.calibration=temperature"]
    assert run(tiny_words(tiny_models["bert"], reviews, folder, *words)) == 0
    return Run(folder)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    folder = os.environ.get("FTCLF_DATA")
    if not folder or not (Path(folder) / "go_emotions" / "train.tsv").is_file():
        pytest.skip("real data: set FTCLF_DATA to a folder with go_emotions/ and dbpedia_14/")
    return Path(folder)


@pytest.fixture
def quickly_compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trace networks as torch.compile does, without the C++ compiler, which takes half a minute. Returns which."""
    import torch

    compiled: list[Any] = []
    whole = torch.nn.Module.compile

    def traced(self: Any, **options: Any) -> None:
        compiled.append(self)
        whole(self, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    return compiled
