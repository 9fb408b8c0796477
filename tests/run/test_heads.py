"""A head that a folder brings along is kept where it is for the data's labels, and told by their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from conftest import TOPICS, make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from ftclf.config import LoraConfig, ModelConfig
from ftclf.model.method import apply_method
from ftclf.model.network import build_classifier
from ftclf.score.task import MULTI_LABEL
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.losses import set_output_bias
from many_models import make_many

pytestmark = pytest.mark.usefixtures("no_pictures")

NAMES = list(TOPICS)  # food, space, sport


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory, trained: Run) -> Path:
    """A folder of whole weights that tells the three labels well."""
    folder = tmp_path_factory.mktemp("expert") / "merged"
    assert run(["merge", str(trained.folder), "--output", str(folder)]) == 0
    return folder


def named(expert: Path, folder: Path, order: list[str], names: list[str] | None) -> Path:
    """Copy a model's folder with its output in another order, and under these names; None: under transformers' own."""
    folder.mkdir()
    for path in expert.iterdir():
        if path.name not in ("ftclf.json", "files.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][[NAMES.index(label) for label in order]]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    del settings["id2label"], settings["label2id"]
    own = {"num_labels": 3} if names is None else {"id2label": dict(enumerate(names))}
    (folder / "config.json").write_text(json.dumps({**settings, **own}))
    return folder


TURNED = ["sport", "food", "space"]
OTHERS = "is for other labels (food, space, sport): its output begins anew"


@pytest.mark.parametrize(
    ("order", "names", "labels", "said", "right"),
    [
        (NAMES, NAMES, NAMES, "", True),
        (TURNED, TURNED, NAMES, "has these labels in another order: its output is put into the order of the", True),
        (NAMES, NAMES, ["c_food", "b_space", "a_sport"], OTHERS, False),
        (NAMES, ["0", "1", "2"], ["0", "1", "2"], "", True),
        (NAMES, None, NAMES, "is for other labels (LABEL_0, LABEL_1, LABEL_2): its output begins anew", False),
        (NAMES, NAMES, ["food", "space"], OTHERS, False),
    ],
    ids=["the same", "another order", "other names", "numbers", "no names", "a subset"],
)
def test_a_head_is_kept_where_its_names_are_those_of_the_data(
    order: list[str],
    names: list[str] | None,
    labels: list[str],
    said: str,
    right: bool,
    expert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rate of nothing leaves a head that is kept as good as it was."""
    base = named(expert, tmp_path / "base", order, names)
    new = dict(zip(NAMES, labels, strict=False))
    data = write_csv(tmp_path / "data.csv", [(text, new[label]) for text, label in make_rows(240, 5) if label in new])
    still = ["method=lora", "training.max_steps=1", "training.learning_rate=1e-9", "training.average=0"]
    assert run(tiny_words(base, data, tmp_path / "run", *still, "baselines=[]")) == 0
    out = capsys.readouterr().out
    assert (f"note: the head of {base} {said}" in out) == bool(said)
    assert ("the head of" in out) == bool(said)
    accuracy = read_json(Run(tmp_path / "run").metrics)["test"]["accuracy"]
    assert not right or accuracy > 0.7


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "bart", "gpt2"])
def test_the_output_of_any_architecture_is_found_reordered_and_begun_anew(
    name: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    import torch

    folder = tiny_models[name] if name in tiny_models else make_many(tmp_path, name)[name]
    labels, settings = ["a", "b", "c"], ModelConfig(name="m", attention="eager")
    torch.manual_seed(0)
    build_classifier(folder, labels, settings).network.save_pretrained(tmp_path / "head")
    names = (labels, ["c", "a", "b"], ["x", "y", "z"])
    kept, turned, other = (build_classifier(tmp_path / "head", one, settings) for one in names)
    ids = torch.tensor([[2, 5, 9, 3]])
    with torch.no_grad():
        logits = [one.network.eval()(ids).logits for one in (kept, turned, other)]
    assert torch.allclose(logits[0][:, [2, 0, 1]], logits[1])
    assert not torch.allclose(logits[0], logits[2], atol=1e-6)
    assert (kept.random_keys, turned.random_keys, kept.head) == ([], [], "")
    outputs = ("classifier", "out_proj", "score")
    assert other.random_keys
    assert all(key.split(".")[-2] in outputs for key in other.random_keys)


def test_an_output_that_begins_anew_is_trained_and_saved_with_an_adapter(expert: Path) -> None:
    other = build_classifier(expert, ["x", "y", "z"], ModelConfig(name="m"))
    assert other.random_keys == ["classifier.bias", "classifier.weight"]
    network = apply_method(other, LoraConfig(kind="lora", learning_rate=1))
    trained = [name for name, one in network.named_parameters() if one.requires_grad]
    assert any("classifier.modules_to_save" in name for name in trained)


def test_several_labels_start_at_their_log_odds_where_the_output_is_new_alone(expert: Path) -> None:
    targets = np.array([[True, False, False], [True, True, False], [False, False, True]])
    for names, starts in ((NAMES, False), (["x", "y", "z"], True)):
        found = build_classifier(expert, names, ModelConfig(name="m"))
        network: Any = found.network
        before = network.classifier.bias.tolist()
        set_output_bias(found, MULTI_LABEL.prior(targets.sum(axis=0), len(targets)))
        assert (network.classifier.bias.tolist() != before) == starts
