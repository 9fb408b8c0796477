"""What faults are put into: tiny real models, small data, command lines, and undisturbed runs to compare with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import make_models, make_rows, write_csv
from faults.processes import Trial
from ftclf.system.imports import quiet_libraries
from ftclf.training.resumable import read_progress

# Each as different from the others as the code that saves and resumes can see.
VARIANTS: dict[str, tuple[str, ...]] = {
    "full": ("method=full", "training.eval_steps=4", "training.metric=accuracy"),
    "lora": ("method=lora", "training.early_stopping=9", "training.metric=accuracy"),
    "head": ("method=head", "training.batching=random", "training.accumulation=2", "training.eval_steps=3"),
    "lora random": ("method=lora", "training.batching=random", "training.average=0", "training.eval_steps=5"),
    "full early": ("method=full", "training.early_stopping=2", "training.eval_steps=3", "training.epochs=9"),
}
COMMON = (
    "training.epochs=3",
    "training.batch_size=8",
    "training.learning_rate=5e-3",
    "training.precision=fp32",
    "training.threads=1",
    "training.log_steps=1",
    "baselines=[]",
)


@dataclass
class World:
    """A folder with a model and data, and what its undisturbed runs left."""

    root: Path
    library: Path | None  # calls.c, compiled, where there is a compiler
    references: dict[str, Reference] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, library: Path | None) -> World:
        quiet_libraries()
        make_models(root / "models", ["bert"])
        write_csv(root / "data.csv", make_rows(96))
        return cls(root, library)

    def words(self, variant: str, folder: Path, *more: str) -> list[str]:
        """Return the command line of a run."""
        named = [f"dataset.train={self.root / 'data.csv'}", f"model.name={self.root / 'models' / 'bert'}"]
        words = ["train", "dataset=files", *named, f"run_dir={folder}", *COMMON, *VARIANTS[variant], *more]
        last = {word.partition("=")[0]: word for word in words}  # a later one takes an earlier one's place
        if "training.max_steps" in last:
            del last["training.epochs"]
        return list(last.values())

    def reference(self, variant: str) -> Reference:
        """Return the undisturbed run of a variant; the first call trains it."""
        if variant not in self.references:
            folder = self.root / "undisturbed" / variant.replace(" ", "_")
            trial = Trial(self.words(variant, folder, "training.keep_checkpoints=true"), folder.with_suffix(".out"))
            if (code := trial.wait()) != 0:
                raise RuntimeError(f"the undisturbed run of {variant} ended with {code}: {trial.said()}")
            self.references[variant] = Reference(folder, outcome(folder), trial.seconds, validated_steps(folder))
        return self.references[variant]

    def folder(self, *names: Any) -> Path:
        """Return a path for one trial, in which nothing stands yet."""
        path = self.root.joinpath(*map(str, names))
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Reference:
    folder: Path
    outcome: Outcome
    seconds: float
    saved: list[int]  # steps after which a checkpoint was written


@dataclass(frozen=True)
class Outcome:
    """All of a finished run that must not depend on what happened to it."""

    weights: bytes
    metrics: bytes
    history: list[str]

    def differs(self, other: Outcome) -> str:
        """Return what is not the same in both, or nothing."""
        names = [name for name in ("weights", "metrics", "history") if getattr(self, name) != getattr(other, name)]
        return f"other {' and '.join(names)}" if names else ""


def outcome(folder: Path) -> Outcome:
    """Read what a finished run left: weights, metrics, and every logged loss and validation score."""
    (weights,) = (folder / "checkpoint").glob("*model.safetensors")
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return Outcome(
        weights.read_bytes(),
        (folder / "metrics.json").read_bytes(),
        [line for line in lines if "train_runtime" not in line],
    )


def last_step(folder: Path) -> int:
    """Return the last step that a run logged."""
    path = folder / "history.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def validated_steps(folder: Path) -> list[int]:
    """Return the steps after which a run was evaluated, and so saved."""
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines if "validation_" in line]


def checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps of a run's whole checkpoints."""
    from ftclf.storage.durable import damage

    found = (folder / "resumable").glob("checkpoint-*")
    whole = (read_progress(path) for path in found if damage(path) is None)
    return sorted(progress.step for progress in whole if progress)


Check = Callable[[], str]  # tries one thing; returns what did not hold, or nothing
