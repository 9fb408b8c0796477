"""What `training.extra` may hold of TrainingArguments, as far as it can be said without importing transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

# Numbers that would end in NaN, or in an error of torch, in the first step.
RANGES = {
    "adam_beta1": (0, 0.99999),
    "adam_beta2": (0, 0.9999999),
    "adam_epsilon": (1e-20, 1),  # with 0, weights that have no gradient are 0 / 0 in torch's own step
    "neftune_noise_alpha": (0, 10_000),
    "torch_empty_cache_steps": (1, 10**9),
    "dataloader_prefetch_factor": (1, 10_000),
}

# Fields that settings of ftclf's own, or its promises, depend on.
RESERVED = {
    "accelerator_config",
    "activation_checkpointing",
    "auto_find_batch_size",
    "bf16",
    "bf16_full_eval",
    "data_seed",
    "dataloader_drop_last",
    "dataloader_num_workers",
    "ddp_backend",
    "debug",
    "deepspeed",
    "disable_tqdm",
    "enable_jit_checkpoint",
    "eval_delay",
    "eval_on_start",
    "eval_steps",
    "eval_strategy",
    "fp16",
    "fp16_full_eval",
    "fsdp",
    "fsdp_config",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "greater_is_better",
    "ignore_data_skip",
    "label_names",
    "label_smoothing_factor",
    "learning_rate",
    "load_best_model_at_end",
    "local_rank",
    "logging_nan_inf_filter",
    "logging_steps",
    "lr_scheduler_type",
    "max_grad_norm",
    "max_steps",
    "metric_for_best_model",
    "num_train_epochs",
    "optim",
    "output_dir",
    "parallelism_config",
    "per_device_eval_batch_size",
    "per_device_train_batch_size",
    "remove_unused_columns",
    "report_to",
    "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint",
    "save_on_each_node",
    "save_only_model",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "seed",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "train_sampling_strategy",
    "trust_remote_code",
    "use_cpu",
    "use_liger_kernel",
    "warmup_steps",
    "weight_decay",
}
# They upload a run, or hold a token that would stand in every file of the run.
UPLOADS = ("hub_", "push_to_hub", "trackio_")


def extra_problems(extra: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each field that is not to be given, or is out of its range."""
    for key, value in extra.items():
        where = f"training.extra.{key}"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in RESERVED:
            yield f"{where}: ftclf sets it itself; use the setting of its own, or leave it out"
        elif key.startswith(UPLOADS):
            yield f"{where}: ftclf uploads nothing and keeps no tokens; allowed: other fields"
        elif is_number and not math.isfinite(value):
            yield f"{where}: got {value}, allowed: finite numbers"
        elif key in RANGES:
            low, high = RANGES[key]
            if not is_number or not low <= value <= high:
                yield f"{where}: got {value}, allowed: from {low} to {high}"
