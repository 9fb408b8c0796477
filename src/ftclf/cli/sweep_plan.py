"""How many jobs of a sweep run side by side, and with how many threads each."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ftclf.config import FullConfig, TrainConfig
from ftclf.model.base_weights import weights_bytes
from ftclf.model.compute import usable_cores
from ftclf.storage.run_folder import Run, read_json
from ftclf.system.console import size
from ftclf.system.imports import may_have_gpu
from ftclf.system.memory import free_memory

# Peak memory of a job, as docs/benchmarks.md has it: of MiniLM (91 MB of weights) 1.4 GB full, 1.0 to 1.4 GB with LoRA.
LEAST, COPIES, COPIES_OF_FROZEN = 900_000_000, 6, 3


@dataclass(frozen=True)
class Plan:
    """The jobs' configs as they are trained, and how many run at a time.

    `need` are the bytes of memory that each may need, and `cores` those that all share; 0 and None where the command
    line says how many jobs run at a time.
    """

    configs: list[TrainConfig]
    at_once: int
    need: int
    cores: int | None
    gpu_share: float | None = None
    note: str = ""


def planned(configs: list[TrainConfig], folders: list[Path]) -> Plan:
    """Plan a sweep whose jobs train in these folders.

    A job whose threads are not given gets its share of the cores; a job that was begun keeps its number of threads, so
    that the same command goes on with it wherever more or less is free.
    """
    cores, need, on_gpu, note = usable_cores(), max(map(memory_of, configs)), any(map(_on_gpu, configs)), ""
    told = next((config.jobs for config in configs if config.jobs is not None), None)
    at_once = told or (1 if on_gpu else cores // max(config.training.threads or 1 for config in configs))
    at_once = max(1, min(at_once, len(configs)))
    if told is None and at_once > (fitting := max(1, (free := free_memory()) // need)):
        at_once = fitting
        note = f"{size(free)} of memory are free, and a job needs some {size(need)}: {at_once} at a time"
    share = max(1, cores // at_once) if at_once > 1 else None
    settled = [_with_threads(config, Run(folder), share) for config, folder in zip(configs, folders, strict=True)]
    gpu_share = 1 / at_once if on_gpu and at_once > 1 else None
    return Plan(settled, at_once, 0 if told else need, None if told else cores, gpu_share, note)


def memory_of(config: TrainConfig) -> int:
    """Return about how many bytes of memory a job needs."""
    if not config.method.needs_network:
        return LEAST
    copies = COPIES if isinstance(config.method, FullConfig) else COPIES_OF_FROZEN
    return LEAST + copies * weights_bytes(config.model)


def _with_threads(config: TrainConfig, run: Run, share: int | None) -> TrainConfig:
    threads = config.training.threads
    if threads is None:
        threads = share
        if not config.overwrite:
            with suppress(OSError, LookupError, TypeError, ValueError):  # not begun, or damaged: said later
                threads = read_json(run.config)["training"]["threads"]
    return replace(config, jobs=None, training=replace(config.training, threads=threads))


def _on_gpu(config: TrainConfig) -> bool:
    """Return whether a job may train on a GPU, without asking torch, which takes seconds to import."""
    device = config.training.device if config.method.needs_network else "cpu"
    return device != "cpu" and (device != "auto" or may_have_gpu() or sys.platform == "darwin")
