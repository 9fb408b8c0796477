"""The Hugging Face Trainer with ftclf's batches, evaluation and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from ftclf.config import TrainingConfig
from ftclf.data import Split
from ftclf.fast import AHEAD, Batch, PlainEngine
from ftclf.model.batches import TrainBatches
from ftclf.model.compute import Compute, as_it_stands
from ftclf.model.samplers import Sampler
from ftclf.model.tokens import Tokens
from ftclf.score.evaluation import choosing_scores
from ftclf.score.logits import compute_logits
from ftclf.storage.run_folder import Run, append_json_line
from ftclf.system.console import say
from ftclf.system.errors import DivergedError
from ftclf.system.memory import hand_back_memory
from ftclf.system.progress_bar import TrainingPhase
from ftclf.training.averaging import AverageWeights
from ftclf.training.hf_arguments import training_arguments
from ftclf.training.losses import TrainingLoss
from ftclf.training.mixup import MixedLoss
from ftclf.training.stoppable import ResumableTrainer


class TokenRows(Dataset[Any]):
    """A split as the Trainer wants it; one call gives a whole batch, as the engine puts it together."""

    def __init__(self, tokens: Tokens, split: Split, engine: PlainEngine) -> None:
        self.tokens, self.labels, self.engine = tokens, split.labels, engine

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        return self.engine.collate(self.tokens, np.asarray(rows), self.labels)


class ClassifierTrainer(ResumableTrainer):
    """Trainer whose batches, loss and evaluation are ftclf's, and whose steps may be made by an engine."""

    untold_losses = 0.0  # of steps that the engine made and the Trainer does not know yet
    last_norm = 0.0  # of the gradients of the engine's last finished step

    def __init__(
        self,
        network: torch.nn.Module,
        config: TrainingConfig,
        metric: str,
        run: Run,
        *,
        compute: Compute,
        engine: PlainEngine,
        train: TokenRows,
        validation: tuple[Tokens, Split],
        prior: NDArray[np.float64] | None,
        head: tuple[list[torch.nn.Parameter], float],
        loss: TrainingLoss | MixedLoss,
        sampler: Sampler,
    ) -> None:
        self.sampler = sampler
        self.config, self.run, self.compute = config, run, compute
        self.network, self.rows, self.validation = network, train, validation
        self.prior, self.head = prior, head
        self.engine = engine
        self.bar = ProgressCallback(config, metric)
        callbacks: list[TrainerCallback] = [self.bar]
        if config.early_stopping:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=config.early_stopping))
        self.average = AverageWeights(network, config.average) if config.average else None
        if self.average and not engine.makes_steps:
            callbacks.append(AverageCallback(self.average))
        super().__init__(
            model=network,
            args=training_arguments(config, run, compute),
            train_dataset=train,
            eval_dataset=train,  # only its presence counts: `evaluate` below knows the rows
            compute_loss_func=loss,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        batches = TrainBatches(
            self.rows.tokens.lengths,
            self.config.batch_size,
            seed=self.config.seed,
            kind=self.config.batching,
            sampler=self.sampler,
        )
        loader: DataLoader[Any] = DataLoader(self.rows, batch_sampler=batches, collate_fn=lambda batch: batch)
        # Recorded steps copy it themselves, without waiting for the device.
        return self.accelerator.prepare(loader, device_placement=[not self.engine.makes_steps])  # type: ignore[no-any-return]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Build the Trainer's optimizer and give the parameters of the head groups of their own."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh:
            _scale_learning_rate(optimizer, *self.head)
            self.engine.take_optimizer(optimizer)
            if self.average:
                self.average.rows = self.engine.lazy_weight
        return optimizer

    # ---- steps

    def training_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        number = self.state.global_step + 1
        if not self.engine.makes_steps:
            loss = super().training_step(model, inputs, *args, **kwargs)
            refuse_infinite("loss", loss.item(), number)
            return loss
        model.train()
        self.engine.step(partial(self.compute_loss, model), inputs, self.optimizer, number)
        if self.average:
            self.average.update(number)
        self.check_steps(AHEAD if number < self.state.max_steps else 0)
        return self.nothing

    @cached_property
    def nothing(self) -> torch.Tensor:
        """What the Trainer adds up instead of each loss, without waiting for it."""
        return torch.zeros_like(self._tr_loss)

    def check_steps(self, ahead: int = 0) -> None:
        """Wait until at most so many of the engine's steps are on their way; raise for one that is not finite."""
        for step in self.engine.finished(ahead):
            refuse_infinite("loss", step.loss, step.number)
            refuse_infinite("gradient's norm", step.norm, step.number)
            self.untold_losses, self.last_norm = self.untold_losses + step.loss, step.norm
        if ahead == 0 and self.untold_losses:
            self._tr_loss += self.untold_losses
            self.untold_losses = 0.0

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *rest: Any, **named: Any) -> None:
        due = self.control.should_log or self.control.should_evaluate or self.control.should_save
        if self.engine.makes_steps and due:
            self.check_steps()
            grad_norm = self.last_norm
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, **named)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        super()._run_epoch(*args, **kwargs)
        self.check_steps()

    def _clip_grad_norm(self, model: Any) -> Any:
        """Return the norm of all gradients, which the engine's step or the Trainer clips."""
        if self.engine.makes_steps:
            return self.last_norm
        norm = self.engine.clip(self._own_optimizer(), self.args.max_grad_norm)
        return super()._clip_grad_norm(model) if norm is None else norm  # type: ignore[no-untyped-call]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stop before a step whose gradient is not finite; fp16 has such steps now and then, and skips them itself."""
        if self.engine.makes_steps:  # the step is made
            return self.last_norm
        if grad_norm is None:  # nothing was clipped
            grad_norm = self.engine.clip(self._own_optimizer(), self.args.max_grad_norm)
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if self.compute.precision != "fp16":
            refuse_infinite("gradient's norm", float(norm), self.state.global_step + 1)
        return norm

    def _get_num_items_in_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Count nothing where the engine makes steps, which the count would wait for: the loss counts its rows."""
        return None if self.engine.makes_steps else super()._get_num_items_in_batch(*args, **kwargs)

    def _own_optimizer(self) -> Any:
        """Return the optimizer inside accelerate's wrapper."""
        return self.optimizer.optimizer  # type: ignore[union-attr]

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with self.engine.training_context():
                result = super().train(*args, **kwargs)
            if self.average:  # of the best evaluation, or of the end where there was none
                self.average.keep()
            return result
        finally:
            self.bar.close()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the validation split by the function that scores everything else."""
        start = time.perf_counter()
        self.check_steps()
        tokens, split = self.validation
        hand_back_memory(collect=False)  # batches of other sizes would not fit into what steps left, and come on top
        with (
            self.average.in_place() if self.average else nullcontext(),
            self.breakable_evaluation() as look,
            as_it_stands(compiled=self.config.compile),
        ):
            size = self.config.eval_batch_size
            logits = compute_logits(self.network, tokens, self.compute, size, may_diverge=True)
            self.bar.evaluated(time.perf_counter() - start, int(tokens.offsets[-1]))
            if not np.isfinite([logits.min(), logits.max()]).all():
                step = self.state.global_step
                raise DivergedError(f"training: logits are not finite after step {step}; lower training.learning_rate")
            scores = choosing_scores(logits, split, self.prior, look)
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.seconds_aside += time.perf_counter() - start
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Keep the latest weights unless their log loss is worse than the lowest by its standard error.

        Scores of a few rows of validation are mostly chance, and the best of many is the luckiest; late weights, at low
        learning rates, are better on average. After a third of the steps in which none are kept, training ends.
        """
        if self.config.metric:
            return super()._determine_best_metric(metrics, trial)
        value, error = metrics["eval_log_loss"], metrics["eval_log_loss_error"]
        lowest = math.inf if self.state.best_metric is None else self.state.best_metric
        self.state.best_metric = min(lowest, value)
        step, kept = self.state.global_step, self.state.best_global_step or 0
        if value <= lowest + error:
            self.state.best_global_step = step
            return True
        if step < self.state.max_steps and 3 * (step - kept) >= self.state.max_steps:
            say(f"training ends: validation was clearly better after step {kept}")
            self.control.should_training_stop = True
        return False

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        self.check_steps()
        with self.engine.saving():
            super()._save_checkpoint(*args, **kwargs)
        self.seconds_aside += time.perf_counter() - start

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.average:
            self.average.save(Path(output_dir))
        self.engine.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        with self.trusting_nothing():
            if self.average:
                self.average.load(Path(checkpoint))
            self.engine.load(Path(checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average:
            with self.trusting_nothing():
                self.average.load(Path(str(self.state.best_model_checkpoint)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        record = {name.replace("eval_", "validation_"): value for name, value in logs.items()}
        append_json_line(self.run.history, {"step": self.state.global_step, "epoch": self.state.epoch, **record})

    def floating_point_ops(self, inputs: Any) -> int:
        """Count nothing: the Trainer would walk all parameters every step for a number that nobody reads."""
        return 0


def _scale_learning_rate(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], times: float) -> None:
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        of_head = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if of_head:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            rest = {name: value for name, value in group.items() if name != "params"}
            optimizer.add_param_group({**rest, "params": of_head, "lr": group["lr"] * times})


def refuse_infinite(what: str, value: float, step: int) -> None:
    """Raise DivergedError for a number of a step that is not finite."""
    if not math.isfinite(value):
        raise DivergedError(
            f"training: the {what} is {value} in step {step}; lower training.learning_rate or raise training.warmup"
        )


class AverageCallback(TrainerCallback):
    """Take each step's weights into the mean, where steps are not recorded."""

    def __init__(self, average: AverageWeights) -> None:
        self.average = average

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.average.update(state.global_step)


class ProgressCallback(TrainerCallback):
    """Feed the progress bar and print a line for each evaluation."""

    def __init__(self, config: TrainingConfig, metric: str) -> None:
        self.config, self.metric = config, metric
        self.phase: TrainingPhase | None = None
        self.loss: float | None = None
        self.ahead: Callable[[float], float] | None = None  # seconds after training, from those of a validation token

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        batch_size = self.config.batch_size * self.config.accumulation
        self.phase = TrainingPhase(state.max_steps, batch_size, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loss = kwargs["logs"].get("loss", self.loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.phase is not None
        self.phase.reach(state.global_step, self.loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        metric, metrics = self.metric, kwargs["metrics"]
        shown = f"{metric} {metrics[f'eval_{metric}']:.4f}, log_loss {metrics['eval_log_loss']:.4f}"
        say(f"epoch {state.epoch:.2f}, step {state.global_step}: validation {shown}")

    def evaluated(self, seconds: float, tokens: int) -> None:
        """Tell from the seconds that these tokens took how long everything after training will take."""
        if self.phase is not None and self.ahead is not None:
            self.phase.after = self.ahead(seconds / max(1, tokens))

    def close(self) -> None:
        """Take the bar away, also after an error."""
        if self.phase is not None:
            self.phase.close()
