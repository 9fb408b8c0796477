"""What transformers knows trains, loads again and predicts, or is refused in one line before anything is written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import tiny_words
from ftclf.checkpoint.format import load_checkpoint
from ftclf.cli.main import run
from ftclf.config import FullConfig, HeadConfig, LoraConfig, MethodConfig, ModelConfig
from ftclf.model.compute import Compute
from ftclf.model.method import apply_method, target_modules
from ftclf.model.network import build_classifier, load_tokenizer, longest_text, outline, settle_padding
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.probe import able_compute, make_probe, restored_network
from many_models import MANY, make_many

pytestmark = pytest.mark.usefixtures("no_pictures")

LABELS = ["food", "space", "sport"]
FULL, HEAD, LORA = (
    FullConfig(kind="full", learning_rate=1e-3),
    HeadConfig(kind="head", learning_rate=1e-3),
    LoraConfig(kind="lora", learning_rate=1e-3),
)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny networks of many architectures."""
    return make_many(tmp_path_factory.mktemp("many"), *MANY)


def words(model: Path, reviews: Path, folder: Path, *more: str) -> list[str]:
    """Return the command line of three steps."""
    few = ("training.max_steps=3", "training.batch_size=8", "training.threads=1", "dataset.max_length=32")
    return tiny_words(model, reviews, folder, *few, "baselines=[]", *more)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("bart", "full"), ("gpt2", "lora"), ("ibert", "full"), ("nomic_bert", "head"), ("bigbird", "full")),
    ],
)
def test_a_network_unlike_bert_trains_loads_and_predicts(
    name: str,
    method: str,
    many: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    # No average: what is loaded at the end is then a file that transformers wrote.
    assert run(words(many[name], reviews, folder, f"method={method}", "training.average=0")) == 0
    assert read_json(Run(folder).manifest)["reload_difference"] < 1e-5
    (tmp_path / "texts.txt").write_text("goal match\nsoup bread and salt in the kitchen\n")
    found = []
    for checkpoint in (folder, tmp_path / "merged") if method == "lora" else (folder,):
        if checkpoint != folder:
            assert run(["merge", str(folder), "--output", str(checkpoint)]) == 0
        capsys.readouterr()
        assert run(["predict", str(checkpoint), f"input={tmp_path / 'texts.txt'}"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0].count("\n") == 2
    assert len({one[:40] for one in found}) == 1


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("deberta", ["training.precision=bf16"], "training.precision: got bf16, which deberta (deberta) cannot be"),
        ("deberta", ["model.attention=sdpa"], "model.attention: got 'sdpa', allowed with deberta: auto, eager"),
        ("ibert", ["method=lora"], "method: ibert has no linear layer that an adapter could be added to; use "),
        ("squeezebert", ["method=lora"], "method: squeezebert has no linear layer"),
        ("xmod", [], "model.name: xmod (xmod) cannot be trained on texts (Input language unknown."),
        ("mpnet", ["training.gradient_checkpointing=true"], "got true, which mpnet cannot do; leave it out"),
        (
            "canine",
            [],
            "model.name: canine (canine) cannot read a text of 3 tokens alone (max_pool1d() Invalid computed",
        ),
        ("canine", ["method.freeze_embeddings=true"], "method.freeze_embeddings: canine names no word embeddings"),
        ("xlmr_xl", ["dataset.max_length=63"], "dataset.max_length: got 63, allowed with this model: up to 62"),
    ],
)
def test_what_a_network_cannot_do_is_one_line_and_nothing_is_written(
    name: str,
    more: list[str],
    expected: str,
    many: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(words(many[name], reviews, tmp_path / "run", "method=full", *more)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["data2vec", "ibert", "mpnet", "xlmr_xl", "bart", "gpt2", "fnet"])
def test_positions_are_counted_as_the_network_counts_them(name: str, many: dict[str, Path]) -> None:
    """One token more than is allowed must not work where positions are embeddings."""
    import torch

    longest = longest_text(outline(many[name]))
    behind = name in ("data2vec", "ibert", "mpnet", "xlmr_xl")
    assert longest == (62 if behind else 64)
    network = classifier(many[name]).network.eval()
    ids = torch.full((1, longest), 5)
    ids[0, -1] = 3
    with torch.no_grad():
        network(ids)
        with pytest.raises((IndexError, RuntimeError)):
            network(torch.cat([ids[:, :1], ids], dim=1))


def classifier(folder: Path) -> Any:
    return build_classifier(folder, LABELS, ModelConfig(name="m", attention="eager"))


def tried(network: Any, folder: Path, precision: str = "fp32", max_length: int = 32) -> Compute:
    probe = make_probe("soup bread", load_tokenizer(folder), labels=3, max_length=max_length, longest=9)
    return able_compute(network, probe, Compute("cpu", precision, 1), name="m", may_change=True)


def test_a_length_that_no_setting_tells_is_found_by_trying(many: dict[str, Path]) -> None:
    """The settings say 64 positions, the network has 40."""
    from torch import nn

    network = classifier(many["fnet"]).network
    network.fnet.embeddings.position_embeddings = nn.Embedding(40, 32)
    with pytest.raises(Exception, match="max_length: got 64, allowed with this model: up to 40 "):
        tried(network, many["fnet"], max_length=64)


@pytest.mark.parametrize(
    ("name", "method"),
    [("bigbird", FULL), ("ibert", FULL), ("gpt2", LORA), ("bart", HEAD)],
    ids=["bigbird", "ibert", "gpt2", "bart"],
)
def test_trying_a_network_leaves_no_trace(name: str, method: MethodConfig, many: dict[str, Path]) -> None:
    import torch

    found = classifier(many[name])
    settle_padding(found.network, load_tokenizer(many[name]))
    network: Any = apply_method(found, method)
    before = {key: one.clone() for key, one in network.state_dict().items()}
    shapes = [(key, type(module), module.training) for key, module in network.named_modules()]
    settings = network.config.to_dict()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    tried(network, many[name], "bf16")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(torch.equal(one, before[key]) for key, one in network.state_dict().items())
    assert all(one.grad is None for one in network.parameters())
    assert [(key, type(module), module.training) for key, module in network.named_modules()] == shapes
    assert network.config.to_dict() == settings


def test_a_network_that_changes_itself_is_put_back(many: dict[str, Path]) -> None:
    """BigBird takes another attention for good when it meets a short text, and draws its blocks by numpy's state."""
    import torch

    network = classifier(many["bigbird"]).network.train()
    network.bert.set_attention_type("block_sparse")
    modules = list(network.modules())
    with restored_network(network):
        network(torch.full((1, 9), 5))
        assert network.bert.attention_type == "original_full"
    assert network.bert.attention_type == "block_sparse"
    assert list(network.modules()) == modules


def test_where_auto_chose_bf16_a_network_that_knows_float32_alone_trains_in_it(
    many: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ftclf.model.compute.bf16_is_fast", lambda device: True)
    assert run(words(many["deberta"], reviews, tmp_path / "run", "method=head", "training.precision=auto")) == 0
    assert "warning: training.precision: fp32, since deberta (deberta) cannot be" in capsys.readouterr().err
    assert read_json(Run(tmp_path / "run").config)["training"]["precision"] == "fp32"
    assert load_checkpoint(tmp_path / "run" / "checkpoint").info.precision == "fp32"


def test_scores_that_depend_on_the_padding_are_said_and_a_wrong_padding_is_refused(
    many: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried(classifier(many["fnet"]).network, many["fnet"])
    assert "warning: m (fnet) reads padding as text" in capsys.readouterr().err
    network = classifier(many["gpt2"]).network
    network.config.pad_token_id = 7
    with pytest.raises(Exception, match=r"looks for padding 7, and its tokenizer pads with 3; set pad_token_id in its"):
        tried(network, many["gpt2"])
    settle_padding(again := classifier(many["gpt2"]).network, load_tokenizer(many["gpt2"]))
    assert again.config.pad_token_id == 3
    capsys.readouterr()
    tried(again, many["gpt2"])
    assert not capsys.readouterr().err


@pytest.mark.parametrize("name", ["bert", "distilbert", *MANY])
def test_a_dropout_of_zero_leaves_none_in_the_network(
    name: str, many: dict[str, Path], tiny_models: dict[str, Path]
) -> None:
    folder = {**tiny_models, **many}[name]
    network = build_classifier(folder, LABELS, ModelConfig(name=name, dropout=0.0, attention_dropout=0.0)).network
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout) and m.p] == []


def test_the_linear_layers_of_gpt2_get_adapters_that_merge_into_the_same_logits(many: dict[str, Path]) -> None:
    import torch

    found = classifier(many["gpt2"])
    assert len(target_modules(found.network, LORA, ["score"])) == 2 * 4
    network: Any = apply_method(found, LORA)
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.tensor([[2, 9, 8, 3]])
    with torch.no_grad():
        before = network.eval()(ids).logits
        assert torch.allclose(network.merge_and_unload()(ids).logits, before, atol=1e-5)


def test_an_embedding_that_a_decoder_shares_is_not_stepped_by_rows(many: dict[str, Path]) -> None:
    import torch

    from ftclf.fast.cpu.embedding_rows import train_by_rows

    network = classifier(many["bart"]).network
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    assert train_by_rows(network, optimizer) is None
