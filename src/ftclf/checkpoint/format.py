"""Save and load a checkpoint: weights or an adapter, tokenizer, and one json with all that loading needs."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftclf.config import METHODS, DatasetConfig, ModelConfig, check, restore, variant_from
from ftclf.config.settings import ENGINES, REQUIRED, setting
from ftclf.model.base_weights import Weights, find_weights, read_weights
from ftclf.model.method import apply_method
from ftclf.model.network import build_classifier, load_tokenizer, longest_text, refuse_other_tokenizer, settle_padding
from ftclf.score.calibration import Calibration
from ftclf.score.decisions import Decision
from ftclf.score.rules import Rules
from ftclf.score.task import task_named
from ftclf.storage.durable import FILES, damage, seal
from ftclf.storage.run_folder import read_json, write_json
from ftclf.storage.run_paths import FOLDER, home_of
from ftclf.storage.small_files import check_model_files
from ftclf.system.errors import CheckpointError, ConfigError, RunError, SmallFileError, WeightsError, short

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

INFO = "ftclf.json"
ADAPTER = "adapter_model.safetensors"
FORMAT = 4
ROUNDING = 1e-4  # of the size of logits: how far those of a network may be from its own before it was saved
AGAIN = f"copy it here again, or train again (files that you changed yourself: take their lines out of {FILES})"


@dataclass(kw_only=True)
class CheckpointInfo(Rules):
    """All that loading and reading a checkpoint needs besides the weights. `version` is ftclf's.

    Device, precision, threads and batch size are those of the scores that training printed, and `digests` those of the
    rows of each split: with them `eval` gives the same.
    """

    data_name: str
    digests: dict[str, str]
    dataset: DatasetConfig
    model: ModelConfig
    method: dict[str, Any]
    base_origin: str
    base_sha256: str
    base_settings: str  # SHA-256 of what decides the base's network beside its weights
    trained_texts: list[str] = setting([], "")  # a sketch of them, see data/split.py
    started_in: str  # the way from the checkpoint's folder to the one in which it was trained
    device: str = setting(REQUIRED, "where it was trained", choices=("cpu", "cuda", "mps"))
    precision: str = setting(REQUIRED, "of training", choices=("fp32", "bf16", "fp16"))
    threads: int = setting(REQUIRED, "of training", low=1, high=1024)
    engine: str = setting("auto", "of training", choices=ENGINES)
    eval_batch_size: int = setting(REQUIRED, "of training", low=1, high=65536)
    version: str
    format: int = FORMAT

    @property
    def has_network(self) -> bool:
        """Whether torch computes it; else its folder holds no network, tokenizer or adapter."""
        return METHODS[self.method["kind"]].needs_network


@dataclass
class Checkpoint:
    folder: Path
    info: CheckpointInfo
    network: nn.Module
    tokenizer: PreTrainedTokenizerBase


def save_checkpoint(folder: Path, network: Any, tokenizer: PreTrainedTokenizerBase, info: CheckpointInfo) -> None:
    """Write the checkpoint into an empty folder; whoever made it puts it in its place when all of it is there."""
    network.config.problem_type = f"{info.task}_classification"  # whether others take the softmax or sigmoids
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's template; ours is written from the metrics
    write_info(folder, info)


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Write a checkpoint's json anew, and seal the folder with it."""
    write_json(folder / INFO, asdict(info))
    seal(folder)


def read_info(folder: Path) -> CheckpointInfo:
    """Read a checkpoint's json. Raises CheckpointError where it is not one that this version can read."""
    path = folder / INFO
    try:
        raw = read_json(path)
    except (RunError, OSError) as error:
        raise CheckpointError(f"{folder}: {damage(folder, [INFO]) or error}; {AGAIN}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        got = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise CheckpointError(f"{path}: format {got}, allowed: {FORMAT}; it was written by another version of ftclf")
    if problem := damage(folder, [INFO]):
        raise CheckpointError(f"{folder}: {problem}; {AGAIN}")
    try:
        info = restore(CheckpointInfo, raw)
        check(info)
        for decision in info.other_decisions.values():
            check(decision)
        check(variant_from("method", info.method))
        _refuse_contradictions(info)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}; the file is damaged, or of no ftclf") from error
    return info


def _refuse_contradictions(info: CheckpointInfo) -> None:
    """Raise TypeError where a scaling or a rule is not one of these labels."""
    names, task = info.label_names, task_named(info.task)
    if len(names) < 2 or len(set(names)) < len(names):
        raise TypeError(f"label_names are {short(names)}, not several different ones")
    if not all(re.fullmatch("[0-9a-f]{16}", one) for one in info.trained_texts):
        raise TypeError("trained_texts are not hashes of 16 hexadecimal digits")
    if info.other_decisions and not task.other_decisions:
        raise TypeError("other_decisions are for several labels per row")
    parts: tuple[Calibration | Decision, ...] = (info.calibration, info.decision, *info.other_decisions.values())
    if problem := next(filter(None, (part.problem(task, names) for part in parts)), ""):
        raise TypeError(problem)


def decide_by(info: CheckpointInfo, name: str | None) -> None:
    """Put another of the checkpoint's decision rules in the usual one's place. Raises ConfigError for none such."""
    if name is None:
        return
    if name not in info.other_decisions:
        known = ", ".join(info.other_decisions) or "none: with one label a row the most probable is given"
        raise ConfigError(f"decide: no decision rule '{name}' in the checkpoint, allowed: {known}")
    info.decision = info.other_decisions[name]


def load_checkpoint(folder: Path, home: Path | None = None) -> Checkpoint:
    """Load the trained network, ready to predict, in float32 on the CPU.

    `home` is the folder that it was trained in, where the checkpoint is not in its place yet. Raises CheckpointError
    where a file is missing or damaged, or an adapter's base is not the one it was trained on.
    """
    info = read_info(folder)
    if not info.has_network:
        raise RunError(f"{folder}: method={info.method['kind']} has no network; this needs one, as of method=lora")
    if problem := damage(folder):
        raise CheckpointError(f"{folder}: {problem}; {AGAIN}")
    try:
        check_model_files(folder)
        adapted = info.method["kind"] == "lora" and (folder / ADAPTER).is_file()  # else it was merged
        network = _load_adapter(folder, info, home) if adapted else _load_whole(folder, info)
        tokenizer = load_tokenizer(folder)
        refuse_other_tokenizer(tokenizer, network)
        settle_padding(network, tokenizer)
    except SmallFileError as error:
        raise CheckpointError(str(error)) from error
    except (WeightsError, ConfigError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    longest = longest_text(network)
    if longest is not None and info.dataset.max_length > longest:
        raise CheckpointError(f"{folder}: dataset.max_length is {info.dataset.max_length}, its network reads {longest}")
    network.eval().requires_grad_(False)
    return Checkpoint(folder, info, network, tokenizer)


def prove_reload(
    folder: Path, inputs: dict[str, Any], logits: Any, *, seed: int, home: Path | None = None
) -> tuple[Checkpoint, float]:
    """Load the checkpoint under another seed, and return it with the largest difference of its logits from these.

    Raises CheckpointError if it is more than rounding: then something that was trained was not saved.
    """
    import torch

    torch.manual_seed(seed + 1)
    checkpoint = load_checkpoint(folder, home)
    network = checkpoint.network.to(logits.device)
    with torch.inference_mode():
        difference = (logits - network(**inputs).logits).abs().max().item()
    allowed = ROUNDING * max(1.0, logits.abs().max().item())
    if not np.isfinite(difference) or difference > allowed:
        raise CheckpointError(
            f"{folder}: loaded again it gives other logits (by {difference:.2g}, where rounding is at most "
            f"{allowed:.2g}) and is not kept; please report this with the config"
        )
    network.to("cpu")  # as it was loaded
    return checkpoint, float(difference)


def _load_whole(folder: Path, info: CheckpointInfo) -> Any:
    if (named := _labels_of(folder / "config.json")) != info.label_names:
        raise CheckpointError(f"{folder}: config.json names the labels {named}, {INFO} {info.label_names}")
    classifier = build_classifier(folder, info.label_names, info.model)
    if names := [*classifier.random_keys, *classifier.unused_keys]:
        raise CheckpointError(f"{folder}: the weights are of another network ({', '.join(names[:4])})")
    return classifier.network


def _labels_of(path: Path) -> list[str]:
    try:
        names = read_json(path)["id2label"]
        return [str(names[str(index)]) for index in range(len(names))]
    except (RunError, OSError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: it names no labels; {AGAIN}") from error


def _load_adapter(folder: Path, info: CheckpointInfo, home: Path | None) -> Any:
    """Put the adapter's weights into the network that its method makes of the base: peft's own json is not asked."""
    import peft

    base = find_base(info, home or home_of(folder, info.started_in))
    network: Any = apply_method(
        build_classifier(base.folder, info.label_names, info.model), variant_from("method", info.method)
    )
    trained = peft.get_peft_model_state_dict(network, save_embedding_layers=False)
    found = read_weights(folder / ADAPTER)
    other = [name for name in {**trained, **found} if _shape(trained.get(name)) != _shape(found.get(name))]
    if other:
        raise CheckpointError(f"{folder}: {ADAPTER} is of another network or method ({', '.join(sorted(other)[:4])})")
    peft.set_peft_model_state_dict(network, found)
    return network


def _shape(tensor: Any) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def find_base(info: CheckpointInfo, home: Path | None) -> Weights:
    """Find the base of an adapter and compare its hash with the one the adapter was trained on."""
    base = find_weights(info.model, home, of_a_folder=info.base_origin.startswith(FOLDER))
    if base.sha256 != info.base_sha256:
        raise CheckpointError(
            f"model.name: the adapter was trained on {info.base_origin} with sha256 {info.base_sha256[:12]}..., "
            f"{base.origin} has {base.sha256[:12]}...; put the same base there"
        )
    if base.settings != info.base_settings:
        raise CheckpointError(
            f"model.name: the config.json of {base.origin} describes another network than the adapter was trained on; "
            "put back the one that was there"
        )
    return base
