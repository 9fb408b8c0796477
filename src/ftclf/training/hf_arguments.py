"""ftclf's settings as those of the Hugging Face Trainer."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from transformers import TrainingArguments

from ftclf.config import LOWER_IS_BETTER, TrainingConfig
from ftclf.config.did_you_mean import did_you_mean
from ftclf.model.compute import Compute
from ftclf.storage.run_folder import Run
from ftclf.system.errors import ConfigError


def training_arguments(config: TrainingConfig, run: Run, compute: Compute) -> TrainingArguments:
    """Map ftclf's settings to the Trainer's."""
    known = {field.name: field.type for field in dataclasses.fields(TrainingArguments)}
    extra = dict(config.extra)
    for name, value in extra.items():
        if name not in known:
            raise ConfigError(f"training.extra.{name}: not a field of TrainingArguments.{did_you_mean(name, known)}")
        if type(value) is int and "float" in str(known[name]):
            extra[name] = float(value)  # torch takes no betas of two kinds
    metric = config.metric or "log_loss"
    strategy = "steps" if config.eval_steps else "epoch"
    values: dict[str, Any] = {
        "output_dir": str(run.resumable),
        "num_train_epochs": config.epochs or 1.0,  # not given: a number of steps is
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.eval_batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "optim": config.optimizer,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "use_cpu": compute.device == "cpu",
        "bf16": compute.precision == "bf16",
        "fp16": compute.precision == "fp16",
        "activation_checkpointing": config.gradient_checkpointing,
        "eval_strategy": strategy,
        "save_strategy": strategy,
        "eval_steps": config.eval_steps,
        "save_steps": config.eval_steps or 500,
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": metric not in LOWER_IS_BETTER,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": config.log_steps or 50,
        "logging_nan_inf_filter": False,
        "report_to": config.trackers or "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    # Its default is below output_dir, which goes when the run is finished.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.folder / "tensorboard")
    try:
        arguments = TrainingArguments(**{**values, **extra})
        # One process, one device: several visible GPUs would become torch's DataParallel, with another loss.
        arguments._n_gpu = min(1, arguments.n_gpu)
        return arguments
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"training.extra: {str(error).splitlines()[0]}") from error
