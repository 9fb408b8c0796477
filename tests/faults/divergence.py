"""Numbers that are not finite, put into a run, and runs that explode by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from faults.processes import run
from faults.world import Check, World, checkpoint_steps, last_step, outcome

NAME = "NaN and infinity in loss, gradient and weights; learning rates and weights that explode"
GOAL = "exit 4 within a step, the last good checkpoint stays, failure.json and the report say it; then the same bits"
SHORT, LONG = 10, 12  # every value in every place
PLACES = ("loss", "gradient", "weight")
VALUES = ("nan", "inf")


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    for number in range(LONG if long else SHORT):
        step, place, value = 3 + 2 * number, PLACES[number % 3], VALUES[number % 2]
        for variant in ("full", "lora") if long else (("full", "lora")[number // 3 % 2],):
            yield seed, lambda s=step, p=place, v=value, k=variant: _injected(world, k, s, p, v)
    exploding = (
        ["training.learning_rate=9.9", "training.warmup=0", "training.max_grad_norm=0"],
        ["training.learning_rate=9", "training.optimizer=sgd", "training.max_grad_norm=0", "training.warmup=0"],
        ["training.learning_rate=9.9", "training.warmup=0", "training.schedule=constant", "training.optimizer=rmsprop"],
    )
    for number, words in enumerate(exploding):
        yield seed, lambda n=number, w=words: _exploded(world, str(n), w)
    yield seed, lambda: _exploded(world, "grown", ["training.max_grad_norm=0"], grow)


def _injected(world: World, variant: str, step: int, place: str, value: str) -> str:
    folder, reference = world.folder("divergence", variant, f"{step}-{place}"), world.reference(variant)
    code, said = run(world.words(variant, folder), folder.with_suffix(".first"), inject, step, place, value)
    if problem := _ended_well(folder, code, said):
        return f"{value} in {place} of step {step}: {problem}"
    saved = [done for done in reference.saved if done < step]
    if saved and checkpoint_steps(folder)[-1:] != saved[-1:]:
        return f"{value} in {place} of step {step}: checkpoints {checkpoint_steps(folder)}, {saved[-1]} was good"
    if not step - 1 <= last_step(folder) <= step:
        return f"{value} in {place} of step {step}: it went on to step {last_step(folder)}"
    code, said = run(world.words(variant, folder), folder.with_suffix(".again"))
    return f"resume ended with {code}: {said}" if code else reference.outcome.differs(outcome(folder))


def _exploded(world: World, name: str, words: list[str], before: Callable[[], None] | None = None) -> str:
    folder = world.folder("divergence", "exploded", name)
    code, said = run(world.words("full", folder, *words), folder.with_suffix(".first"), before)
    if code == 0 and before is None and _all_finite(folder):
        return ""  # large, but it held
    return _ended_well(folder, code, said)


def _ended_well(folder: Any, code: int, said: str) -> str:
    if code != 4 or said.count("\n") != 1:
        return f"ended with {code}: {said}"
    if (folder / "metrics.json").exists() or (folder / "checkpoint").exists():
        return "it is marked finished"
    reason = json.loads((folder / "failure.json").read_text())["reason"]
    if reason not in said:
        return f"failure.json says {reason}"
    return "" if "diverged" in (folder / "report.html").read_text(encoding="utf-8") else "the report does not say it"


def _all_finite(folder: Any) -> bool:
    return "NaN" not in (folder / "metrics.json").read_text() and "null" not in (folder / "history.jsonl").read_text()


def grow() -> None:
    """Multiply the weights by a thousand in every step. Runs in the trial."""
    from ftclf.training.trainer import ClassifierTrainer

    original: Any = ClassifierTrainer.training_step

    def growing(self: Any, *args: Any, **kwargs: Any) -> Any:
        for weight in self.network.parameters():
            weight.data.mul_(1e3)
        return original(self, *args, **kwargs)

    ClassifierTrainer.training_step = growing  # type: ignore[method-assign]


def inject(step: int, place: str, value: str) -> None:
    """Put a number that is not finite into one place of a training step. Runs in the trial."""
    from ftclf.training.stoppable import ResumableTrainer
    from ftclf.training.trainer import ClassifierTrainer

    # A loss is broken under the check, as a network's own would be.
    owner: Any = ResumableTrainer if place == "loss" else ClassifierTrainer
    original = owner.training_step

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        here = self.state.global_step + 1 == step
        weight = next(weight for weight in self.network.parameters() if weight.requires_grad)
        if here and place == "weight":
            weight.data.view(-1)[0] = float(value)
        loss = original(self, *args, **kwargs)
        if here and place == "gradient":
            next(one.grad for one in self.network.parameters() if one.grad is not None).view(-1)[0] = float(value)
        return loss * float(value) if here and place == "loss" else loss

    owner.training_step = broken
