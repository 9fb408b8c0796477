"""Tiny real models and small real files: everything here runs offline and in seconds."""

from __future__ import annotations

import csv
import fcntl
import os
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker of xdist begin with its share of the slow tests: at the end none waits for another."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items[:] = slow_first(items, workers)


def slow_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the tests as worksteal will cut them: a worker gets as many as any other, in the order of this list."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = iter([item for item in items if not item.get_closest_marker("slow")])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share, count = slow[worker::workers], (len(items) - len(ordered)) // (workers - worker)
        ordered += [*share, *islice(quick, count - len(share))]
    return ordered


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


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder for reading, made by whichever worker of xdist needs it first."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, ready = root / name, root / f"{name}.ready"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            folder.mkdir()
            make(folder)
            ready.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoders of two layers with a word tokenizer: bert, bert without a pooler, distilbert and roberta."""
    folder = shared(tmp_path_factory, "models", make_models)
    return {name: folder / name for name in MODELS}


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
    folder = shared(tmp_path_factory, "data", lambda folder: write_csv(folder / "reviews.csv", make_rows(240)))
    return folder / "reviews.csv"


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
    os.environ["FTCLF_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    # The rate of the other tiny runs is too much for so many steps: what they end in is chance.
    words = ["training.epochs=30", "training.batch_size=8", "training.learning_rate=2e-3"]
    words += ["decision.calibration=temperature"]

    def make(folder: Path) -> None:
        assert run(tiny_words(tiny_models["bert"], reviews, folder / "run", *words)) == 0

    return Run(shared(tmp_path_factory, "trained", make) / "run")


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)


@pytest.fixture
def no_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let runs write a grey pixel instead of each picture: for tests of other things, a fifth of a tiny run.

    The marker `pictures` keeps them.
    """

    def draw(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(PIXEL)

    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("pictures"):
            for name in ("plot_confusion", "plot_history"):
                patch.setattr(f"ftclf.report.plots.{name}", draw)
        yield


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


@pytest.fixture(scope="session")
def quick_interpreter() -> Iterator[None]:
    """Let triton's interpreter prepare its language once per launch of a kernel: the arithmetic stays the same.

    By itself it does so again in every function that a kernel calls, which takes longer than what they compute.
    """
    pytest.importorskip("triton", reason="needs triton")
    from triton import language
    from triton.runtime.interpreter import InterpretedFunction

    prepare_and_call = InterpretedFunction.__call__

    def call(self: Any, *given: Any, **named: Any) -> Any:
        known = [module for module in (language, language.core) if module in self.fn.__globals__.values()]
        if any(language.core.is_builtin(module.load) for module in known):  # as before it is prepared
            return prepare_and_call(self, *given, **named)
        return self.rewrite()(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpretedFunction, "__call__", call)
        yield
