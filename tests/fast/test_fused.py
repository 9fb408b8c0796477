"""Blocks computed at once give what transformers and peft give, forward and backward."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, RobertaConfig

from ftclf.fast.cpu import kernels, linear, passes
from ftclf.fast.cpu.copies import can_pack_weights
from ftclf.fast.cpu.encoder import fuse
from ftclf.fast.cpu.sections import RandomMasks, Section
from ftclf.fast.encoder_parts import can_fuse

SIZES = {"vocab_size": 99, "num_labels": 5}
BERT = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
DISTILBERT = {"dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 96}
BERT_TARGETS = ["query", "key", "value", "attention.output.dense", "intermediate.dense"]
DISTILBERT_TARGETS = ["q_lin", "v_lin", "out_lin", "lin1", "lin2"]


def settings(kind: str, dropout: float) -> Any:
    if kind == "distilbert":
        rates = {"dropout": dropout, "attention_dropout": dropout, "seq_classif_dropout": 0}
        return DistilBertConfig(**SIZES, **DISTILBERT, **rates)
    family = BertConfig if kind == "bert" else RobertaConfig
    return family(**SIZES, **BERT, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


def classifier(kind: str = "bert", *, attention: str = "eager", lora: bool = False, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(settings(kind, dropout), attn_implementation=attention)
    if lora:
        targets = DISTILBERT_TARGETS if kind == "distilbert" else BERT_TARGETS
        config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=targets, lora_dropout=dropout)
        network = peft.get_peft_model(network, config)
        for name, weight in network.named_parameters():
            if "lora_B" in name:  # it starts at zero, and would say nothing
                torch.nn.init.normal_(weight, std=0.1)
    return network.train()


def batch(length: int = 11) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(6, length, dtype=torch.long)
    mask[0, 5:] = 0
    mask[3, 8:] = 0
    return {"input_ids": torch.randint(5, 99, (6, length)), "attention_mask": mask}


def gradients(network: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    torch.nn.functional.cross_entropy(network(**inputs).logits, labels).backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.fixture(params=[1, 2, 3], ids="{} workers".format)
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(passes, "SHARE", 16)
    return int(request.param)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_values_and_gradients_are_those_of_the_modules(kind: str, attention: str, lora: bool, workers: int) -> None:
    plain = classifier(kind, attention=attention, lora=lora)
    fused = copy.deepcopy(plain)
    assert can_fuse(fused)
    fuse(fused, workers)
    for length in (11, 21):
        inputs = batch(length)
        assert torch.allclose(plain(**inputs).logits, fused(**inputs).logits, atol=1e-6)
        plain.zero_grad()
        fused.zero_grad()
        wanted, found = gradients(plain, inputs), gradients(fused, inputs)
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_a_network_scores_as_its_modules_do(workers: int) -> None:
    plain = classifier().eval()
    fused = copy.deepcopy(plain)
    fuse(fused, workers)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(plain(**batch()).logits.float(), fused(**batch()).logits, atol=0.02)
    with torch.inference_mode():
        assert torch.allclose(plain(**batch()).logits, fused(**batch()).logits, atol=1e-6)


@pytest.mark.skipif(not can_pack_weights(torch.bfloat16), reason="products in bf16 have no layout of their own here")
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_packed_weights_give_the_bits_of_plain_ones(kind: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = classifier(kind, lora=True)
    plain = copy.deepcopy(packed)
    for network in (packed, plain):
        fuse(network, workers)

    def found(network: Any) -> list[torch.Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.inference_mode():  # packs for a score, and once more for gradients
                logits = network(**batch()).logits
            return [logits, *gradients(network, batch()).values()]

    for _ in range(2):
        ours = found(packed)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "can_pack_weights", lambda _: False)
            wanted = found(plain)
        assert all(map(torch.equal, ours, wanted))
        for network in (packed, plain):  # weights that are loaded into a network that has already computed
            with torch.no_grad():
                for name, weight in network.named_parameters():
                    if name.endswith("base_layer.weight"):
                        weight.mul_(1.5)
            network.zero_grad()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_an_encoder_without_a_classifier_gives_the_states_of_all_tokens(kind: str, workers: int) -> None:
    plain = classifier(kind).base_model.eval()
    fused = copy.deepcopy(plain)
    fuse(fused, workers)
    with torch.inference_mode():
        states, found = (network(**batch()).last_hidden_state for network in (plain, fused))
    assert found.shape == (6, 11, 48)
    assert torch.allclose(states, found, atol=1e-5)


def test_the_gradient_with_dropout_is_that_of_the_masks_that_were_drawn(workers: int) -> None:
    fused = classifier(lora=True, dropout=0.3).double().requires_grad_(True)
    fuse(fused, workers)
    inputs, labels = batch(), torch.tensor([0, 1, 2, 3, 4, 0])

    def loss() -> torch.Tensor:
        torch.manual_seed(7)
        found: torch.Tensor = torch.nn.functional.cross_entropy(fused(**inputs).logits, labels)
        return found

    loss().backward()
    for name, weight in fused.named_parameters():
        if weight.grad is None or not any(layer in name for layer in ("layer.1.", "layer.2.")):
            continue
        with torch.no_grad():
            direction = torch.randn_like(weight)
            weight.add_(direction, alpha=1e-6)
            above = loss()
            weight.sub_(direction, alpha=2e-6)
            below = loss()
            weight.add_(direction, alpha=1e-6)
        slope = ((above - below) / 2e-6).item()
        assert slope == pytest.approx((weight.grad * direction).sum().item(), rel=1e-3, abs=1e-7), name


def test_the_same_seed_gives_the_same_bits(workers: int) -> None:
    runs = []
    for _ in range(2):
        fused = classifier(lora=True, dropout=0.1)
        fuse(fused, workers)
        torch.manual_seed(3)
        runs.append(gradients(fused, batch()))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_making_kernels_before_a_pass_changes_no_bit_and_is_done_once(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        network = classifier(lora=True, dropout=0.1)
        fuse(network, workers)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return gradients(network, batch()), torch.get_rng_state()

    with monkeypatch.context() as patch:
        patch.setattr(passes, "make_kernels", lambda *_, **__: None)
        wanted, random_state = trained()
    monkeypatch.setattr(kernels, "_met", set())
    made = []
    monkeypatch.setattr(kernels, "_product", lambda *args, was=kernels._product, **kw: made.append(was(*args, **kw)))
    for _ in range(2):
        found, state = trained()
        assert torch.equal(state, random_state)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], gradient) for name, gradient in wanted.items())
        assert len(made) == len([key for key in kernels._met if isinstance(key[0], tuple)]) > 0


def test_a_mask_keeps_its_share_and_the_mean() -> None:
    section = Section(0, 500, 1, None, RandomMasks(0))
    mask = section.draw(torch.ones(500, 1000), 26)
    assert 1 - mask.float().mean().item() == pytest.approx(26 / 256, abs=0.002)
    assert not torch.equal(mask, section.draw(torch.ones(500, 1000), 26))


def test_a_mask_is_of_elements_that_nobody_else_has_however_what_it_masks_lies() -> None:
    firsts = torch.ones(64, 300, 384)[:, 0]  # of each text, a view: float32 is not copied on its way into a product
    masks = [Section(0, 64, 1, None, RandomMasks(0)).draw(x, 26) for x in (firsts, firsts.contiguous())]
    assert torch.equal(*masks)


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"is_decoder": True}])
def test_a_network_of_another_kind_is_left_alone(change: dict[str, Any]) -> None:
    config = BertConfig(**SIZES, **BERT, **change)
    assert not can_fuse(AutoModelForSequenceClassification.from_config(config))


def test_adapters_with_a_direction_of_their_own_are_left_to_peft() -> None:
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query"], use_dora=True)
    assert not can_fuse(peft.get_peft_model(classifier(), config))
