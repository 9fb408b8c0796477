"""The blocks that a GPU computes from a few kernels of their own are those of transformers and peft.

Without a GPU the kernels run in triton's interpreter.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from conftest import MODELS
from ftclf.fast.gpu.packed import (
    Draw,
    first_position,
    pack,
    rounded_texts,
    rounded_tokens,
)
from ftclf.fast.gpu.products import Product
from ftclf.model.batches import IGNORED
from ftclf.model.tokens import Tokens

pytest.importorskip("triton", reason="needs triton")
pytestmark = [
    pytest.mark.usefixtures("quick_interpreter"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # numpy's, in triton's interpreter
]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLOSE = {"rtol": 2e-2, "atol": 2e-2} if DEVICE == "cuda" else {"rtol": 1e-4, "atol": 1e-5}  # a GPU rounds to tf32


def random(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE).requires_grad_()


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches be filled up to fewer tokens and texts, which the interpreter computes in time."""
    if DEVICE == "cpu":
        monkeypatch.setattr("ftclf.fast.gpu.packed.TOKENS", 8)
        monkeypatch.setattr("ftclf.fast.gpu.packed.TEXTS", 8)


def draw(rate: float, *seeds: int, place: int = 0) -> Draw:
    """Return a draw by these seeds, or by one of torch's generator."""
    drawn = torch.tensor(seeds) if seeds else torch.randint(2**63 - 1, (1,))
    return Draw(rate, drawn.to(DEVICE), place)


def made_tokens(lengths: list[int], pad_id: int = 0) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.random.default_rng(0).integers(4, 40, offsets[-1]).astype(np.int32)
    return Tokens(ids, offsets, 0, pad_id)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_packed_batch_holds_every_token_once(lengths: list[int], first: int) -> None:
    tokens = made_tokens(lengths, pad_id=1)
    rows = np.random.default_rng(1).permutation(len(lengths))
    labels = np.arange(len(lengths))
    batch = pack(tokens, rows, first, labels)
    ids, positions, bounds = (
        np.asarray(batch[name]).ravel() for name in ("input_ids", "position_ids", "cu_seq_lens_q")
    )
    total, longest = sum(lengths), batch["max_length_q"]
    assert len(ids) == len(positions) == bounds[-1] == rounded_tokens(total)
    assert len(bounds) - 1 == len(batch["labels"]) == rounded_texts(len(bounds) - 1)
    assert np.diff(bounds).max() <= longest
    assert longest >= max(lengths)
    assert positions.max() == first + max(lengths) - 1
    for number, row in enumerate(rows):
        text = slice(bounds[number], bounds[number + 1])
        assert (ids[text] == tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]).all()
        assert (positions[text] == np.arange(lengths[row]) + first).all()
    assert (np.asarray(batch["labels"])[: len(rows)] == rows).all()
    assert (np.asarray(batch["labels"])[len(rows) :] == IGNORED).all()
    assert (ids[total:] == 1).all()

    several = np.random.default_rng(2).random((len(lengths), 3)) < 0.5
    found = np.asarray(pack(tokens, rows, first, several)["labels"])
    assert found.dtype == np.float32
    assert (found[: len(rows)] == several[rows]).all()
    assert (found[len(rows) :] == IGNORED).all()


def test_packed_batches_have_few_sizes() -> None:
    assert {rounded_tokens(count) for count in range(577, 769)} == {640, 704, 768}
    assert len({rounded_tokens(count) for count in range(8193, 16385)}) == 16
    assert {rounded_texts(count) for count in range(1, 130)} == {64, 128, 256}


@pytest.mark.parametrize(("lengths", "heads", "width"), [([3, 1, 16, 0, 7], 2, 16), ([20, 33, 64, 0], 3, 32)])
def test_attention_is_that_of_torch_within_each_text(lengths: list[int], heads: int, width: int) -> None:
    from ftclf.fast.gpu.attention import attend

    torch.manual_seed(0)
    bounds = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32, device=DEVICE)
    x, g = random(sum(lengths), 3, heads, width), torch.randn(sum(lengths), heads, width, device=DEVICE)
    bias = torch.zeros(3 * heads * width, device=DEVICE, requires_grad=True)  # which is in x already
    y = attend(x, bounds, max(lengths), draw(0.0), bias)
    dx, dbias = torch.autograd.grad(y, (x, bias), g)
    texts = [x[start:end].permute(1, 2, 0, 3) for start, end in pairwise(bounds) if end > start]
    wanted = torch.cat([functional.scaled_dot_product_attention(*text[:, None])[0].transpose(0, 1) for text in texts])
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(dx, torch.autograd.grad(wanted, x, g)[0], **CLOSE)
    torch.testing.assert_close(dbias, dx.sum(0).flatten(), **CLOSE)


def test_dropout_of_attention_keeps_expectations_and_its_gradient_is_that_of_the_same_draw() -> None:
    from ftclf.fast.gpu.attention import attend

    torch.manual_seed(0)
    bounds = torch.tensor([0, 9, 23], dtype=torch.int32, device=DEVICE)
    x, g = random(23, 3, 2, 16), torch.randn(23, 2, 16, device=DEVICE)
    whole = attend(x, bounds, 14, draw(0.0))
    several = torch.stack([attend(x, bounds, 14, draw(0.3)).detach() for _ in range(25)])
    assert (several.mean(0) - whole).abs().mean() < 1.5 * several.std(0).mean() / 25**0.5
    refuse_wrong_slope(lambda: attend(x, bounds, 14, draw(0.3)), x, g)


def test_what_a_training_drops_is_the_same_beside_others() -> None:
    from ftclf.fast.gpu.dropout import dropout

    x = torch.ones(3, 10, 48, device=DEVICE)
    y = x.clone().requires_grad_()
    whole = dropout(y.flatten(0, 1), draw(0.3, 5, 6, 7)).view(3, 10, 48)
    for number, seed in enumerate((5, 6, 7)):
        assert torch.equal(whole[number], dropout(x[number], draw(0.3, seed)))
        assert torch.equal(whole[number, :4], dropout(x[number, :4], draw(0.3, seed)))
    assert {round(float(value), 4) for value in whole.detach().unique()} == {0.0, 1.4286}
    assert float((whole == 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    for other in (draw(0.3, 6), draw(0.3, 5, place=1)):
        assert not torch.equal(whole[0], dropout(x[0], other))
    assert torch.equal(torch.autograd.grad(whole.sum(), y)[0], whole)
    assert dropout(x, draw(0.0)) is x


def refuse_wrong_slope(compute: Any, x: Tensor, g: Tensor) -> None:
    """Compare a gradient with differences along one direction, all with the same random draw."""

    def drawn() -> Tensor:
        torch.manual_seed(5)
        return (compute() * g).sum()

    (dx,) = torch.autograd.grad(drawn(), x)
    along, step = torch.randn_like(x), 1e-2 if DEVICE == "cuda" else 1e-3
    with torch.no_grad():
        x += step * along
        above = drawn()
        x -= 2 * step * along
        below = drawn()
        x += step * along
    assert float((above - below) / (2 * step)) == pytest.approx(float((dx * along).sum()), rel=0.05, abs=0.05)


def test_dropout_sum_and_norm_in_one_are_those_of_torch() -> None:
    from ftclf.fast.gpu.elementwise import add_norm

    torch.manual_seed(0)
    h, x, bias, weight, shift = random(9, 24), random(9, 24), random(24), random(24), random(24)
    both, inputs = [torch.randn(9, 24, device=DEVICE) for _ in range(2)], (h, bias, x, weight, shift)
    found = add_norm(h, bias, x, weight, shift, draw(0.0), 1e-5)
    wanted = functional.layer_norm(h + bias + x, (24,), weight, shift, 1e-5)
    for one in found:
        torch.testing.assert_close(one, wanted)
    for used in ((0, 1), (0,), (1,)):
        mine = torch.autograd.grad([found[i] for i in used], inputs, [both[i] for i in used], retain_graph=True)
        theirs = torch.autograd.grad(wanted, inputs, sum(both[i] for i in used), retain_graph=True)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    for one in inputs:
        refuse_wrong_slope(lambda: add_norm(h, bias, x, weight, shift, draw(0.4), 1e-5)[0], one, both[0])


@pytest.mark.parametrize("width", [24, 768])
def test_bias_and_gelu_in_one_are_those_of_torch(width: int) -> None:
    from ftclf.fast.gpu.elementwise import gelu

    torch.manual_seed(0)
    h, bias, g = random(9, width), random(width), torch.randn(9, width, device=DEVICE)
    found, wanted = gelu(h, bias), functional.gelu(h + bias)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    mine, theirs = (torch.autograd.grad(one, (h, bias), g) for one in (found, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_trained_whole_beside_adapted_ones_is_not_packed(tiny_models: dict[str, Path]) -> None:
    import peft

    from ftclf.fast.gpu.trial import can_pack_batches

    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["key"], modules_to_save=["query", "classifier"])
    assert not can_pack_batches(peft.get_peft_model(classifier(tiny_models["bert"], False), config))


@pytest.mark.usefixtures("small_sizes")
@pytest.mark.parametrize(
    ("model", "adapted"),
    [*((model, adapted) for model in (*MODELS, "electra") for adapted in (False, True)), ("bert", "some")],
)
def test_a_packed_batch_gives_the_logits_and_gradients_of_a_padded_one(
    model: str, adapted: bool | str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from ftclf.fast.gpu.blocks import PackedEncoder
    from ftclf.fast.gpu.trial import can_pack_batches
    from ftclf.fast.gpu.weights import LowPrecisionWeights

    folder = small_electra(tmp_path) if model == "electra" else tiny_models[model]
    network = classifier(folder, adapted).to(DEVICE).eval()
    tokens = made_tokens([5, 29, 2, 17, 9, 3], network.config.pad_token_id)
    rows, labels = np.array([3, 0, 5, 1]), np.array([0, 1, 2, 0, 1, 2])
    ids, mask = (torch.from_numpy(one).to(DEVICE) for one in tokens.padded(rows))
    wanted = network(input_ids=ids, attention_mask=mask).logits
    wanted_gradients = gradients(network, wanted, torch.from_numpy(labels[rows]).to(DEVICE))

    assert can_pack_batches(network)
    packed = pack(tokens, rows, first_position(network), labels)
    inputs: dict[str, Any] = {name: one.to(DEVICE) if isinstance(one, Tensor) else one for name, one in packed.items()}
    encoder = PackedEncoder(network, torch.float32)
    weights = LowPrecisionWeights(encoder.layers_outside, torch.float32, encoder.products)
    known = inputs.pop("labels")
    with weights.in_place(), encoder.in_place():
        found = network(**inputs).logits
        functional.cross_entropy(found, known, reduction="sum", ignore_index=IGNORED).backward()
    found_gradients = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    torch.testing.assert_close(found[: len(rows)], wanted, **CLOSE)
    assert found_gradients.keys() == wanted_gradients.keys()
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, msg=name, **CLOSE)
    torch.testing.assert_close(network(input_ids=ids, attention_mask=mask).logits, wanted)  # as it was before


@pytest.mark.usefixtures("small_sizes")
@pytest.mark.parametrize("adapted", [False, True])
def test_packed_batches_are_scored_as_padded_ones(
    adapted: bool, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftclf.fast.gpu.scoring import batches_on_gpu

    network = classifier(tiny_models["bert"], adapted).to(DEVICE).eval()
    tokens = made_tokens([5, 29, 2, 17, 9, 3, 11, 11], network.config.pad_token_id)
    found = []
    for packed in (False, True):
        monkeypatch.setattr("ftclf.fast.gpu.scoring.packs", lambda *_, packed=packed: packed)
        monkeypatch.setattr("ftclf.fast.gpu.scoring.AT_ONCE", 2)
        logits = torch.zeros(len(tokens), 3)
        with (
            torch.inference_mode(),
            batches_on_gpu(network, tokens, 2, DEVICE, torch.float32) as (batches, inputs_of),
        ):
            assert len(batches) > 1
            assert sorted(np.concatenate(batches)) == list(range(len(tokens)))
            for rows in batches:
                logits[rows] = network(**inputs_of(rows)).logits[: len(rows)].cpu()
        found.append(logits)
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("model", MODELS)
def test_a_gpu_scores_packed_what_it_scores_padded(
    model: str, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftclf.fast.gpu.trial import packs
    from ftclf.model.compute import Compute
    from ftclf.score.logits import compute_logits, scoring_network

    compute = Compute("cuda", "bf16", 2)
    network = scoring_network(classifier(tiny_models[model], True), compute)
    tokens = made_tokens([3 + number % 37 for number in range(300)], network.config.pad_token_id)  # type: ignore[union-attr,arg-type]
    exact = compute_logits(classifier(tiny_models[model], True).to("cuda"), tokens, Compute("cuda", "fp32", 2), 8)
    found = [compute_logits(network, tokens, compute, 8)]
    assert packs(network, "cuda", torch.bfloat16)
    monkeypatch.setattr("ftclf.fast.gpu.scoring.packs", lambda *_: False)
    found.append(compute_logits(network, tokens, compute, 8))
    packed, padded = (float(np.abs(one - exact).mean()) for one in found)
    assert packed < 1.2 * padded
    assert packed < 0.05


LOW = torch.bfloat16 if DEVICE == "cuda" else torch.float16  # the interpreter's bfloat16 is not one
MOMENTS = 1e-4 if DEVICE == "cuda" else 1e-5  # torch's kernel for a GPU takes 1 - 0.999 in float32: 4.7e-5 too much


@pytest.mark.parametrize(("chunk", "many"), [(16, 0), (16, 10**6), (4096, 10**6)])
@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_a_step_of_all_tensors_at_once_is_that_of_torch(
    limit: float, chunk: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that have a copy, weights without, one without a gradient, and sizes that no chunk divides."""
    from ftclf.fast.gpu.updates import KernelUpdate, Layout, TorchUpdate
    from ftclf.fast.gpu.weights import LowPrecisionWeights

    monkeypatch.setattr(Layout, "CHUNK", chunk)
    monkeypatch.setattr(Layout, "MANY", many)

    def made() -> tuple[nn.Module, torch.optim.AdamW, Product]:
        torch.manual_seed(0)
        network = nn.ModuleList(
            [nn.Linear(8, 5), nn.Linear(8, 7), nn.LayerNorm(12), nn.Embedding(23, 20), nn.Linear(3, 2)]
        )
        network.to(DEVICE)
        groups = [
            {"params": list(network[:2].parameters()), "weight_decay": 0.1},
            {"params": list(network[2:].parameters()), "weight_decay": 0.0},
        ]
        return network, torch.optim.AdamW(groups, lr=1.0, fused=True), Product([list(network[:2])], LOW)

    one, other = made(), made()
    kept = LowPrecisionWeights([other[0][4]], LOW, [other[2]])
    updates = [
        TorchUpdate(one[1], limit, LowPrecisionWeights([one[0][4]], LOW, [one[2]])),
        KernelUpdate([other[1]], limit, kept),
    ]
    for number in range(4):
        rates = torch.tensor([1e-2, 3e-2], device=DEVICE) / (1 + number)
        norms = []
        for update, (network, _, product) in zip(updates, (one, other), strict=True):
            torch.manual_seed(number)
            x, ids = torch.randn(6, 8, device=DEVICE), torch.randint(23, (6,), device=DEVICE)
            with update.in_place():
                y = network[2](product(x.to(LOW), torch.zeros(1), 0, bias=product.bias).float())
                ((y * torch.arange(12, device=DEVICE)).sum() + network[3](ids).exp().sum()).backward()
            norms.append(update.take(rates))
        assert norms[0].shape == (1,)
        torch.testing.assert_close(*norms)
        for mine, theirs in zip(other[0].parameters(), one[0].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
            assert mine.grad is None
            if theirs in one[1].state:
                for name in ("exp_avg", "exp_avg_sq"):
                    moments = other[1].state[mine][name], one[1].state[theirs][name]
                    torch.testing.assert_close(*moments, rtol=MOMENTS, atol=1e-7)
                    moments[0].copy_(moments[1])  # else a copy that is rounded to its other side moves all that follows
            mine.data.copy_(theirs)
        for copy in kept.trained:
            assert copy.leaf.grad is None
            torch.testing.assert_close(copy.part(), copy.source.data.to(LOW), rtol=1e-2, atol=0)
            copy.part().copy_(copy.source.data)
    assert {float(state["step"]) for state in other[1].state.values()} == {4.0}

    resumed = made()  # goes on from torch's, and torch's from it
    resumed[1].load_state_dict(one[1].state_dict())
    again = KernelUpdate([resumed[1]], limit, LowPrecisionWeights([resumed[0][4]], LOW, [resumed[2]]))
    assert again.counts.tolist() == [4.0] * len(again.parameters)
    one[1].load_state_dict(other[1].state_dict())
    for parameter in one[0].parameters():
        parameter.grad = torch.ones_like(parameter)
    one[1].step()
    assert {float(state["step"]) for state in one[1].state.values()} == {5.0}


def test_trainings_of_several_ranks_step_together_as_each_does_alone() -> None:
    from ftclf.fast.gpu.updates import KernelUpdate
    from ftclf.fast.gpu.weights import LowPrecisionWeights

    ranks, limit, eps = (2, 5, 3), 0.5, torch.finfo(LOW).eps

    def made(networks: list[Any]) -> tuple[KernelUpdate, Product]:
        optimizers = [
            torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], lr=1.0, fused=True)
            for network in networks
        ]
        product = Product([[network.base_model.model[0]] for network in networks], LOW)
        return KernelUpdate(optimizers, limit, LowPrecisionWeights([], LOW, [product])), product

    together, alone = ([adapted_layer(rank) for rank in ranks] for _ in range(2))
    of_all, one_by_one = made(together), [made([network]) for network in alone]
    rates = torch.tensor([1e-2, 3e-2, 2e-2], device=DEVICE)
    x, g = torch.randn(3, 6, 24, device=DEVICE).to(LOW), torch.randn(3, 6, 20, device=DEVICE)
    seeds = torch.zeros(3, dtype=torch.int64, device=DEVICE)
    for _ in range(3):
        y = of_all[1](x.flatten(0, 1), seeds, 0)
        (y.float() * g.flatten(0, 1)).sum().backward()
        norms = of_all[0].take(rates)
        for number, (update, product) in enumerate(one_by_one):
            own = product(x[number], seeds[:1], 0)
            torch.testing.assert_close(y.view(3, 6, -1)[number], own, rtol=2 * eps, atol=2 * eps)
            (own.float() * g[number]).sum().backward()
            torch.testing.assert_close(
                norms[number : number + 1], update.take(rates[number : number + 1]), rtol=eps, atol=0
            )
    for mine, theirs in zip(together, alone, strict=True):
        for name, weight in theirs.named_parameters():
            torch.testing.assert_close(mine.get_parameter(name), weight, rtol=eps, atol=eps, msg=name)
    for one in [one for one in of_all[1].copies if one.source.requires_grad]:
        torch.testing.assert_close(one.part(), one.source.data.to(LOW), rtol=1e-2, atol=0)
    for adapter in of_all[1].adapters:  # what ranks below the largest lack
        for number, rank in enumerate(ranks):
            assert not adapter.down[number, :, rank:].any()
            assert not adapter.up[number, :, :, rank:].any()


def adapted_layer(rank: int) -> Any:
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=rank, lora_alpha=6, target_modules=["0"], init_lora_weights=False)
    return peft.get_peft_model(nn.Sequential(nn.Linear(24, 20)), config).to(DEVICE)


def small_electra(folder: Path) -> Path:
    """Write an encoder whose embeddings are narrower than its blocks."""
    from transformers import ElectraConfig, ElectraModel

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ElectraModel(ElectraConfig(vocab_size=40, embedding_size=16, **size)).save_pretrained(folder)
    return folder


def classifier(folder: Path, adapted: bool | str, rank: int = 2, layers: int = 2) -> Any:
    import peft
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(1)
    network = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=3, attn_implementation="sdpa", num_hidden_layers=layers
    )
    if not adapted:
        return network
    layers = [name for name, one in network.named_modules() if isinstance(one, nn.Linear) and ".layer." in name]
    if adapted == "some":
        layers = [name for name in layers if name.endswith(("query", "value", "q_lin", "v_lin"))]
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_dropout=0.1, target_modules=layers, modules_to_save=["classifier"]
    )
    network = peft.get_peft_model(network, config)
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.1)  # it starts at 0, and adapters change nothing
    return network


def gradients(network: nn.Module, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    functional.cross_entropy(logits, labels, reduction="sum").backward()
    found = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    network.zero_grad()
    return found


@pytest.mark.parametrize(("trainings", "layers"), [(1, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("each", [7, 150])
def test_products_of_adapters_are_those_of_torch(
    trainings: int, layers: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sums over tokens are made in one piece, and in some."""
    from ftclf.fast.gpu import adapters
    from ftclf.fast.gpu.dropout import dropout

    monkeypatch.setattr(adapters, "SUMMED", 64)
    torch.manual_seed(0)
    inputs, outputs, rank, seeds = 144, 40, 5, (5, 6, 7)[:trainings]
    x, y, g = (
        torch.randn(trainings * each, size, device=DEVICE).to(LOW) for size in (inputs, 50 * layers, 50 * layers)
    )
    down = torch.randn(trainings, layers, rank, inputs, device=DEVICE).to(LOW) / 8
    up = torch.randn(trainings, layers, outputs, rank, device=DEVICE).to(LOW)
    scales = torch.tensor([2.0, 3.0, 4.0][:trainings], device=DEVICE)

    def close(found: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(
            found.float(), wanted, rtol=2e-2, atol=4 * torch.finfo(LOW).eps * float(wanted.std())
        )

    read, inner = adapters.enter(x, down, draw(0.3, *seeds, place=4), scales)
    raised = torch.stack(
        [
            dropout(torch.ones_like(x, dtype=torch.float32), draw(0.3, *seeds, place=4 + layer))
            for layer in range(layers)
        ]
    )
    raised = raised.view(layers, trainings, each, inputs).transpose(0, 1) * scales[:, None, None, None]
    assert ((read == 0) == (raised == 0)).all()
    close(read, x.view(trainings, 1, each, inputs) * raised)
    close(inner, read.float() @ down.float().mT)

    columns = slice(3, 3 + layers * outputs)  # of some layers, beside those of others
    apart = [one[:, columns].float().view(trainings, each, layers, outputs).transpose(1, 2) for one in (y, g)]
    around = y.clone()
    adapters.leave(inner, up, y[:, columns])
    close(
        y[:, columns].reshape(trainings, each, layers, outputs).transpose(1, 2),
        apart[0] + inner.float() @ up.float().mT,
    )
    around[:, columns] = y[:, columns]
    assert torch.equal(y, around)

    dinner = adapters.return_to(g[:, columns], up)
    close(dinner, apart[1] @ up.float())
    dx = adapters.of_input(dinner, down, draw(0.3, *seeds, place=4), scales)
    close(dx, (dinner.float() @ down.float() * raised).sum(1).flatten(0, 1))
    ddown, dup = adapters.of_factors(g[:, columns], read, inner, dinner, outputs)
    assert ddown.dtype == dup.dtype == LOW
    close(ddown, dinner.float().mT @ read.float())
    close(dup, apart[1].mT @ inner.float())


def test_copies_of_weights_give_what_autocast_gives() -> None:
    from ftclf.fast.gpu.weights import LowPrecisionWeights

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3)).to(DEVICE)
    network[0].bias.requires_grad_(False)
    x = torch.randn(5, 8, device=DEVICE)

    def loss() -> Tensor:
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            return network(x).float().square().sum()

    wanted = loss()
    wanted.backward()
    wanted_gradients = [one.grad for one in network.parameters()]
    network.zero_grad()
    weights = LowPrecisionWeights([network[0], network[2]], torch.bfloat16)
    for _ in range(2):  # what a step leaves behind does not reach the next
        for one in network.parameters():
            one.grad = None
        with weights.in_place():
            found = loss()
            found.backward()
        assert torch.equal(found, wanted)
        for one, gradient in zip(network.parameters(), wanted_gradients, strict=True):
            assert one.dtype == torch.float32
            assert (one.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(one.grad, gradient)  # type: ignore[arg-type]
