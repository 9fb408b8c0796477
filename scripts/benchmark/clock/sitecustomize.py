"""Note when each step of a transformers Trainer ended, and what was in its batch.

Python imports this file by itself where its folder is on PYTHONPATH. So the peers' scripts and the command ftclf run
as their users run them, and one clock times both.

$BENCH_CLOCK        the file: one JSON line a training
$BENCH_SPAWNED      time.monotonic() when the process was started
$BENCH_WARM_UP      steps before those that are timed
$BENCH_FIRST_STEP   if set: the process ends where its first step would begin
$BENCH_TRAIN_ONLY   if set: the process ends where its training has ended
$BENCH_UNTIL        if set: training stops at the first evaluation with this accuracy
"""

import importlib.machinery
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WATCHED = "transformers.trainer"


class AfterImport:
    """Finder that lets the others find the Trainer's module, and watches it once it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_watch(module: Any) -> None:
            load(module)
            watch(module)

        spec.loader.exec_module = load_and_watch  # type: ignore[method-assign]
        return spec


def watch(trainer: Any) -> None:
    """Give every Trainer a clock, and show the clock every batch."""
    spawned = float(os.environ["BENCH_SPAWNED"])
    warm_up = int(os.environ.get("BENCH_WARM_UP") or 0)
    until = float(os.environ.get("BENCH_UNTIL") or "inf")

    def now() -> float:
        return time.monotonic() - spawned

    class StepClock(trainer.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began: float | None = None
            self.ends: list[float] = []
            self.batches: list[list[Any]] = [[0, 0, 0]]  # rows, real tokens and places of each step
            self.evaluations: list[tuple[float, float | None]] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.began is None:
                self.began = now()
                if os.environ.get("BENCH_FIRST_STEP"):
                    self.write()
                    os._exit(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (warm_up, state.max_steps):
                synchronise()
            self.ends.append(now())
            self.batches.append([0, 0, 0])

        def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            accuracy = rest["metrics"].get("eval_accuracy")
            self.evaluations.append((now(), accuracy))
            if accuracy is not None and accuracy >= until:
                control.should_training_stop = True

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.write()
            if os.environ.get("BENCH_TRAIN_ONLY"):
                os._exit(0)

        def write(self) -> None:
            # A count may still be a tensor: asking for it in the step would make the step wait for the GPU.
            batches = [[int(count) for count in batch] for batch in self.batches[: len(self.ends)]]
            record = {"began": self.began, "ends": self.ends, "batches": batches, "evaluations": self.evaluations}
            with Path(os.environ["BENCH_CLOCK"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    fetch = trainer.Trainer.get_batch_samples

    def counted(self: Any, *rest: Any, **named: Any) -> Any:
        found = fetch(self, *rest, **named)
        clock = next(one for one in self.callback_handler.callbacks if isinstance(one, StepClock))
        for inputs in found[0]:
            ids, mask, labels = inputs["input_ids"], inputs.get("attention_mask"), inputs["labels"]
            batch = clock.batches[-1]
            if (bounds := inputs.get("cu_seq_lens_q")) is not None:  # texts lie end to end, those that fill up last
                rows = int((labels != -100).sum())
                tokens = bounds[rows]
            else:
                rows, tokens = len(ids), ids.numel() if mask is None else mask.sum()
            batch[0] += rows
            batch[1] = batch[1] + tokens
            batch[2] += ids.numel()
        return found

    trainer.Trainer.get_batch_samples = counted
    trainer.DEFAULT_CALLBACKS.append(StepClock)


def synchronise() -> None:
    """Wait for the GPU where there is one: else the end of a step is only that of its launch."""
    torch = sys.modules["torch"]
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


if os.environ.get("BENCH_CLOCK"):
    sys.meta_path.insert(0, AfterImport())
