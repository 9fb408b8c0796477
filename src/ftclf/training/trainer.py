"""The Hugging Face Trainer with ftclf's batches, evaluation and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from ftclf.config import TrainingConfig
from ftclf.data import Split
from ftclf.fast.cpu.block_weights import BlockWeights, train_blocks_apart
from ftclf.fast.cpu.embedding_rows import RowEmbedding, train_by_rows
from ftclf.fast.gpu.packed import first_position, pack
from ftclf.fast.gpu.shapes import filled_up
from ftclf.model.batches import TrainBatches, rows_per_batch
from ftclf.model.compute import Compute, as_it_stands
from ftclf.model.module_walks import spare_walks
from ftclf.model.tokens import Tokens
from ftclf.score.evaluation import choosing_scores
from ftclf.score.logits import compute_logits, model_inputs
from ftclf.storage.run_folder import Run, append_json_line
from ftclf.system.console import say
from ftclf.system.errors import DivergedError
from ftclf.system.memory import hand_back_memory
from ftclf.system.progress_bar import TrainingPhase
from ftclf.training.averaging import AverageWeights
from ftclf.training.gpu_trainer import RecordingTrainer
from ftclf.training.hf_arguments import training_arguments
from ftclf.training.losses import BinaryCrossEntropy, CrossEntropy

ROWS = "embedding_rows.safetensors"  # of a checkpoint between two evaluations: rows that are not caught up


class TokenRows(Dataset[Any]):
    """A split as the Trainer wants it; one call gives a whole padded batch.

    With `few_shapes` it is filled up to one of a few shapes, with rows that no loss counts; with `first_position` it is
    packed instead, and that is the position of each text's first token.
    """

    def __init__(self, tokens: Tokens, split: Split) -> None:
        self.tokens, self.labels = tokens, split.labels
        self.few_shapes = False
        self.first_position: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> dict[str, Any]:
        index = np.asarray(rows)
        if self.first_position is not None:
            return pack(self.tokens, index, self.first_position, self.labels)
        labels = torch.from_numpy(self.labels[index])
        batch = {**model_inputs(self.tokens, index, "cpu"), "labels": labels.float() if labels.ndim == 2 else labels}
        return filled_up(batch, self.tokens.pad_id, self.longest) if self.few_shapes else batch

    @cached_property
    def longest(self) -> int:
        return int(self.tokens.lengths.max())


class ClassifierTrainer(RecordingTrainer):
    """Trainer whose batches, loss and evaluation are ftclf's."""

    def __init__(
        self,
        network: torch.nn.Module,
        config: TrainingConfig,
        metric: str,
        run: Run,
        *,
        compute: Compute,
        train: TokenRows,
        validation: tuple[Tokens, Split],
        prior: NDArray[np.float64] | None,
        faster: tuple[list[torch.nn.Parameter], float],
    ) -> None:
        self.config, self.run, self.compute = config, run, compute
        self.network, self.rows, self.validation = network, train, validation
        self.prior, self.faster = prior, faster
        self.embedding_rows: RowEmbedding | None = None
        self.block_weights: BlockWeights | None = None
        self.choose_steps(config)
        train.few_shapes = self.records
        train.first_position = first_position(network) if self.packs else None
        by_tokens = config.batching == "by_tokens"
        rows = rows_per_batch(len(train), config.batch_size) * config.accumulation if by_tokens else None
        loss = BinaryCrossEntropy(rows) if train.labels.ndim == 2 else CrossEntropy(config.label_smoothing, rows)
        self.bar = ProgressCallback(config, metric)
        callbacks: list[TrainerCallback] = [self.bar]
        if config.early_stopping:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=config.early_stopping))
        self.average = AverageWeights(network, config.average) if config.average else None
        if self.average and not self.records:
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

    def stepped(self, number: int) -> None:
        """Take a recorded step's weights into the mean."""
        if self.average:
            self.average.update(number)

    def get_train_dataloader(self) -> DataLoader[Any]:
        batches = TrainBatches(
            self.rows.tokens.lengths,
            self.config.batch_size,
            seed=self.config.seed,
            kind=self.config.batching,
        )
        loader: DataLoader[Any] = DataLoader(self.rows, batch_sampler=batches, collate_fn=lambda batch: batch)
        # Recorded steps copy it themselves, without waiting for the device.
        return self.accelerator.prepare(loader, device_placement=[not self.records])  # type: ignore[no-any-return]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Build the Trainer's optimizer and give the faster parameters groups of their own."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh:
            _speed_up(optimizer, *self.faster)
            if not self.config.compile:  # it cannot trace what is kept of each row
                self.embedding_rows = train_by_rows(self.network, optimizer)
                self.block_weights = train_blocks_apart(self.network, optimizer, self.compute.threads)
            spare_walks(self.network)
            if self.average:
                self.average.rows = self.embedding_rows
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """Return the norm of all gradients; where it is too large, the optimizer's step divides by what it exceeds."""
        optimizer = self._fused_on_cpu()
        if optimizer is None:
            return super()._clip_grad_norm(model)
        held = (parameter for group in optimizer.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in held if parameter.grad is not None]
        if self.embedding_rows and (rows := self.embedding_rows.gradient()):
            gradients.append(rows[1])
        norms = self.block_weights.norms() if self.block_weights else []
        norm = torch.nn.utils.get_total_norm([*gradients, *norms])
        excess = (norm + 1e-6) / (self.args.max_grad_norm or math.inf)  # as torch's clip_grad_norm_ has it
        optimizer.grad_scale = None if excess <= 1 else excess
        return norm

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None and self._fused_on_cpu():  # nothing is clipped
            grad_norm = self._clip_grad_norm(model)
        return super()._get_grad_norm(model, grad_norm)

    def _fused_on_cpu(self) -> Any:
        """Return the fused AdamW on a CPU, which takes a divisor of the gradients into its one pass; else None."""
        inner = self.optimizer.optimizer  # type: ignore[union-attr]  # accelerate wraps it
        fused = type(inner) is torch.optim.AdamW and inner.defaults["fused"]
        return inner if fused and self.args.device.type == "cpu" else None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
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
        with self.embedding_rows.as_it_stands() if self.embedding_rows else nullcontext():
            super()._save_checkpoint(*args, **kwargs)
        self.seconds_aside += time.perf_counter() - start

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.average:
            self.average.save(Path(output_dir))
        if self.embedding_rows and (behind := self.embedding_rows.behind()):
            save_file(behind, Path(output_dir) / ROWS)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        with self.trusting_nothing():
            if self.average:
                self.average.load(Path(checkpoint))
            if self.embedding_rows and (rows := Path(checkpoint) / ROWS).is_file():
                self.embedding_rows.take_up(load_file(rows))

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


def _speed_up(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], times: float) -> None:
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        faster = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if faster:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            rest = {name: value for name, value in group.items() if name != "params"}
            optimizer.add_param_group({**rest, "params": faster, "lr": group["lr"] * times})


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
