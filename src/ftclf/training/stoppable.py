"""A Trainer that can be stopped and killed: whole checkpoints, and a resume that gives the same bits."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback

from ftclf.storage.durable import damage, whole_folder
from ftclf.storage.run_folder import Run, write_json
from ftclf.storage.small_files import check_model_files
from ftclf.system.errors import OUT_OF_MEMORY, CheckpointError, DivergedError, SmallFileError
from ftclf.system.signals import Stopped, asked, stop_if_asked, stop_later
from ftclf.training.resumable import PROGRESS, Progress, read_progress, refuse_other_state, step_of

# What opening a file that somebody else wrote may end in.
NOT_OURS = (
    *(UnpicklingError, SafetensorError, EOFError),
    *(AttributeError, LookupError, RuntimeError, TypeError, ValueError),
)
OF_THE_MACHINE = f"{OUT_OF_MEMORY}|CUDA error"  # what loading may end in whatever the files hold
KEPT = 2  # newest checkpoints, each with the best one it names: one may be damaged


class ResumableTrainer(Trainer):
    """Trainer whose checkpoints are whole or not there, that ends within a step, and goes on to the same bits."""

    network: torch.nn.Module
    run: Run
    run_id: str  # set when the run's folder is, before training
    most_checkpoints = 2 * KEPT  # side by side, while one more is written
    _going_on: Progress | None = None
    _owes_evaluation = False
    _saved_at: int | None = None
    _began = 0.0
    seconds_before = 0.0  # of training, by the processes before this one
    seconds_aside = 0.0  # evaluations and saves of all processes, which examples per second leave out

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with suppress(OSError):  # transformers makes the folder: a run that does not begin leaves none
            self.run.resumable.rmdir()
        self.add_callback(_TakeUp(self))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train to the end, or until a signal: then raise Stopped after a step and a checkpoint."""
        if resume_from_checkpoint is not None:
            self._going_on = read_progress(Path(resume_from_checkpoint))
            self._saved_at = self.steps_before
            if self._going_on:
                self.seconds_before, self.seconds_aside = self._going_on.seconds, self._going_on.seconds_aside
        self._began = time.perf_counter()
        try:
            with stop_later():
                return super().train(resume_from_checkpoint, *args, **kwargs)
        except EvaluationBrokenOff:  # the one that was made up for, before the first step
            stop_if_asked(self._next_step)

    @property
    def _next_step(self) -> str:
        """What to do when a signal has ended the run: the same command may stand for another folder by then."""
        return f"; go on with {shlex.join(['ftclf', 'train', f'resume={self.run.folder}'])}"

    @property
    def steps_before(self) -> int:
        """Steps that were trained before this process went on."""
        return self._going_on.step if self._going_on else 0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, with those of the processes before."""
        return self.seconds_before + time.perf_counter() - self._began

    @property
    def bare_network(self) -> Any:
        """The network without the autocast that the Trainer wraps around its `forward` in mixed precision."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def checkpoint_bytes(self) -> int:
        """Return about how large a checkpoint is: weights, the optimizer's two moments and the mean of the weights."""
        sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in self.network.parameters()]
        trained = sum(size for size, is_trained in sizes if is_trained)
        saved = trained if hasattr(self.network, "peft_config") else sum(size for size, _ in sizes)
        return saved + 3 * trained

    # ---- writing

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        weights = [p for p in self.network.parameters() if p.requires_grad]
        if not all(torch.isfinite(weight).all() for weight in weights):
            raise DivergedError(f"training: weights are not finite after step {self.state.global_step}")
        step, start = self.state.global_step, time.perf_counter()
        target = self.run.resumable / f"checkpoint-{step}"
        self.run.folder.stat()  # a folder that was taken away is not made again, half empty
        with whole_folder(target, needed=self.checkpoint_bytes()) as beside:
            self._beside = beside.parent
            try:
                super()._save_checkpoint(model, trial)
            finally:
                del self._beside
            (beside / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
            write_json(beside / PROGRESS, asdict(self._progress(start)))
        self._saved_at = step
        self._find_best()
        self._forget_older()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the weights under the names that they have here: transformers loads by these alone.

        By itself it saves those of some architectures under the names of their makers.
        """
        if not isinstance(self.model, PreTrainedModel):
            super()._save(output_dir, state_dict)
            return
        self.model.save_pretrained(str(output_dir), state_dict=state_dict, save_original_format=False)

    def _get_output_dir(self, trial: Any) -> str:
        return str(getattr(self, "_beside", self.run.resumable))

    def _progress(self, save_began: float) -> Progress:
        if self.run.history.exists():  # the disk gets the lines before it gets the length
            with self.run.history.open("rb") as file:
                os.fsync(file.fileno())
        return Progress(
            run=self.run_id,
            step=self.state.global_step,
            best_step=self.state.best_global_step,
            loss=float(self._tr_loss),
            total_loss=self._total_loss_scalar,
            logged_at=self._globalstep_last_logged,
            history=self.run.history.stat().st_size if self.run.history.exists() else 0,
            owes_evaluation=self._owes_evaluation,
            stopped_early=bool(self.control.should_training_stop) and self.state.global_step < self.state.max_steps,
            seconds=self.seconds,
            seconds_aside=self.seconds_aside + time.perf_counter() - save_began,
        )

    def _forget_older(self) -> None:
        """Remove what is neither among the newest that were written on the way here nor the best of one of these."""
        found = [(progress.step, path) for path, progress in self._written() if progress.step <= self.state.global_step]
        newest = [path for _, path in sorted(found)[-KEPT:]]
        best = {progress.best_step for path, progress in self._written() if path in newest}
        for path in self.run.resumable.iterdir():
            if path not in newest and (step_of(path) is None or step_of(path) not in best):
                shutil.rmtree(path, ignore_errors=True)

    def _written(self) -> Iterator[tuple[Path, Progress]]:
        for path in self.run.resumable.glob("checkpoint-*"):
            if progress := read_progress(path):
                yield path, progress

    def _find_best(self) -> None:
        """Point at the best checkpoint where it lies now: the folder may have been moved since it was written."""
        step = self.state.best_global_step
        self.state.best_model_checkpoint = str(self.run.resumable / f"checkpoint-{step}") if step else None

    # ---- stopping

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *rest: Any, **named: Any
    ) -> None:
        evaluates = self.control.should_evaluate
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **named)
        except EvaluationBrokenOff:
            self._owes_evaluation = True
        number = asked()
        # At the end of an epoch the evaluation comes in a call of its own: a checkpoint in between would skip it.
        if number is None or (self._epoch_ends() and not evaluates):
            return
        if self._saved_at != self.state.global_step:
            self._save_checkpoint(model, trial)
        raise Stopped(number, f" after step {self.state.global_step}{self._next_step}")

    def _epoch_ends(self) -> bool:
        """Return whether an evaluation follows this step because an epoch, or training, ends with it."""
        ends = float(self.state.epoch).is_integer() or self.control.should_training_stop
        return bool(self.args.eval_strategy == "epoch" and ends)

    @contextmanager
    def breakable_evaluation(self) -> Iterator[Callable[[], None]]:
        """Let a signal break off an evaluation between two batches and in each call of the yielded function.

        The evaluation is made up for on resume.
        """

        def look(*_: Any) -> None:
            if asked() is not None:
                raise EvaluationBrokenOff

        hook = self.network.register_forward_pre_hook(look)
        try:
            yield look
        finally:
            hook.remove()

    # ---- going on

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train an epoch, unless the checkpoint was written after the last step: transformers would add one."""
        ended = self.state.global_step >= self.state.max_steps or self.control.should_training_stop
        if self._going_on is not None and (self._going_on.stopped_early or ended):
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _take_up(self) -> None:
        """Restore what transformers does not, when it has restored the rest."""
        self._find_best()
        before = self._going_on
        if before is None:
            return
        self._tr_loss.fill_(before.loss)
        self._total_loss_scalar, self._globalstep_last_logged = before.total_loss, before.logged_at
        self._initial_global_step = 0  # of which the mean of all losses is taken
        if before.owes_evaluation:
            metrics = self._evaluate(None, None)
            if self._determine_best_metric(metrics, None):
                self._find_best()

    def _load_from_checkpoint(self, resume_from_checkpoint: Any, *args: Any, **kwargs: Any) -> None:
        if not list(Path(resume_from_checkpoint).glob("*model.safetensors")):
            raise CheckpointError(f"{resume_from_checkpoint}: it has no weights in safetensors, and no other is opened")
        with self.trusting_nothing():
            check_model_files(Path(resume_from_checkpoint))
            refuse_other_state(Path(resume_from_checkpoint), [*self.callback_handler.callbacks, self.control])
            super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> Any:
        begun = super()._init_training_state(max_steps, *args, **kwargs)
        # How often to log and save is what the settings say now, not the checkpoint.
        self.state.compute_steps(self.args, max_steps)  # type: ignore[no-untyped-call]
        return begun

    def _load_callback_state(self) -> None:
        patience = [callback.early_stopping_patience for callback in self._early_stopping()]
        super()._load_callback_state()
        for callback, of_settings in zip(self._early_stopping(), patience, strict=True):
            callback.early_stopping_patience = of_settings  # the checkpoint's count, not its limit

    def _early_stopping(self) -> list[EarlyStoppingCallback]:
        return [one for one in self.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback)]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with self.trusting_nothing():
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with self.trusting_nothing():
            super()._load_rng_state(checkpoint)

    @contextmanager
    def trusting_nothing(self) -> Iterator[None]:
        """Refuse files whose hashes are right and that no run of these settings wrote; torch opens them as data alone.

        Its own message for a pickle that would run code advises to let it.
        """
        try:
            yield
        except (*NOT_OURS, SmallFileError) as error:
            if re.search(OF_THE_MACHINE, f"{type(error).__name__} {error}", re.IGNORECASE):
                raise
            raise CheckpointError(
                f"{self.run.resumable}: a file in it is not what this run wrote; begin again with overwrite=true"
            ) from error

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if problem := damage(best):
            raise CheckpointError(f"{best}: {problem}; give the same command again: it goes on from what is whole")
        super()._load_best_model()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse weights that do not fit: transformers would go on with what was there before."""
        missing = set(load_result.missing_keys) - self._shared(load_result.missing_keys)
        if names := [*missing, *load_result.unexpected_keys]:
            first = ", ".join(sorted(names)[:3])
            raise CheckpointError(f"{self.run.resumable}: the weights are of another network ({first})")

    def _shared(self, missing: list[str]) -> set[str]:
        """Return the names under which a weight stands once more that a checkpoint holds under another."""
        weights = self.bare_network.state_dict(keep_vars=True)
        held = {id(weight) for name, weight in weights.items() if name not in missing}
        return {name for name in missing if id(weights.get(name)) in held}


class EvaluationBrokenOff(Exception):  # noqa: N818  # no error: a signal came
    pass


class _TakeUp(TrainerCallback):
    """Call the trainer back between its own preparations and the first step."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._take_up()
