"""LoRA jobs of a sweep that train side by side in one pass: their base is one frozen network.

What they may differ in is what that base does not see: rank, alpha, learning rate, seed. Everything else of a run, its
folder above all, is made by the code that makes it alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ftclf.config import LoraConfig, TrainConfig
from ftclf.system.console import speak_as
from ftclf.system.signals import Stopped, stop_later

OWN = {"method": ("r", "alpha", "learning_rate"), "training": ("learning_rate", "seed")}


def groups_of(configs: list[TrainConfig]) -> list[list[int]]:
    """Return the jobs that can train in one pass, by their numbers; a job that must train alone is a group of one."""
    groups: list[tuple[Any, list[int]]] = []
    for number, config in enumerate(configs):
        shared = _shared(config)
        for other, numbers in groups:
            if shared is not None and shared == other:
                numbers.append(number)
                break
        else:
            groups.append((shared, [number]))
    return [numbers for _, numbers in groups]


def train_side_by_side(trainings: dict[int, Callable[[], object]], alone: int = 0) -> None:
    """Run the trainings of one group, each in a thread of its own; they take turns. Their numbers name their lines.

    `alone` is how many cores each would have had without the others, if more than now.
    """
    from ftclf.fast.turns import Relay, Seat

    relay = Relay(len(trainings), alone)

    def run(place: int, number: int, training: Callable[[], object]) -> None:
        speak_as(f"job {number}")
        try:
            Seat(relay, place).sit()
            with suppress(Stopped):  # raised again below, when all have ended their step
                training()
        finally:
            relay.leave(place)

    threads = [
        threading.Thread(target=run, args=(place, number, training), daemon=True)
        for place, (number, training) in enumerate(trainings.items())
    ]
    for thread in threads:
        thread.start()
    try:
        with stop_later():
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)  # now and then, so that a signal is seen
    except BaseException as reason:
        relay.stop(reason)
        raise


def _shared(config: TrainConfig) -> dict[str, Any] | None:
    """Return what jobs must have in common to train in one pass; None for one that can only train alone."""
    method, training = config.method, config.training
    if not isinstance(method, LoraConfig) or method.dora or method.init in ("pissa", "olora"):
        return None  # these change the base, which is shared
    if training.trackers or training.gradient_checkpointing or training.compile:
        return None
    shared = asdict(config)
    for part, names in OWN.items():
        for name in names:
            del shared[part][name]
    return shared
