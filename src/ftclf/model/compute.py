"""The machine: where to compute, with how many threads, in which precision."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import resource
import shutil
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import TrainingConfig
from ftclf.storage.cache import cache_folder, missing, new_entry
from ftclf.system.containers import OWN, ROOT, control_groups
from ftclf.system.errors import ConfigError
from ftclf.system.memory import keep_memory

SHORT = 96  # tokens: below, products of the attention matrix are too small for a fused kernel


@dataclass(frozen=True)
class Compute:
    device: str  # cpu, cuda or mps
    precision: str  # fp32, bf16 or fp16
    threads: int
    engine: str = "auto"  # plain: transformers and torch alone

    def autocast(self) -> Any:
        """Return the context in which a forward pass runs."""
        import torch

        return torch.autocast(self.device, dtype=self.dtype, enabled=self.precision != "fp32")

    @property
    def dtype(self) -> Any:
        """The type of torch that matrix products are computed in."""
        import torch

        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[self.precision]


def as_it_stands(*, compiled: bool) -> Any:
    """Return the context in which a compiled network computes as it stands: an evaluation is not worth a graph."""
    import torch

    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def check_compiler(setting: str, device: str) -> None:
    """Refuse to compile where torch would find out in the first step that it has nothing to do so with.

    Raises ConfigError with the setting that asked for it.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device == "cuda" and find_spec("triton") is None:
        raise ConfigError(f"{setting}: got true, and triton is not installed; pip install triton, or leave it out")
    if shutil.which(compiler) is None:
        raise ConfigError(f"{setting}: got true, without a C++ compiler ({compiler}); install one, or leave it out")


def choose_compute(config: TrainingConfig) -> Compute:
    """Resolve `auto` on this machine and set torch's threads. Raises ConfigError for what it does not have."""
    import torch

    device = choose_device(config.device)
    keep_memory()
    threads = config.threads or usable_cores()
    torch.set_num_threads(threads)
    precision = config.precision
    if precision == "fp16" and device == "cpu":
        raise ConfigError("training.precision: fp16 does nothing on a CPU, allowed: auto, bf16, fp32")
    if precision == "auto":
        precision = usual_precision(device)
    return Compute(device, precision, threads, config.engine)


def scoring_compute(device: str, precision: str, threads: int | None = None, engine: str = "auto") -> Compute:
    """Return this machine's way to score as training did, as far as it has the device and the cores.

    Without `threads` on all cores: the numbers are then training's up to rounding.
    """
    import torch

    try:
        device = choose_device(device)
    except ConfigError:
        device = choose_device()
    keep_memory()
    threads = min(threads or usable_cores(), usable_cores())
    torch.set_num_threads(threads)
    return Compute(device, "bf16" if precision == "fp16" and device == "cpu" else precision, threads, engine)


def choose_device(wanted: str = "auto") -> str:
    """Return cuda, mps or cpu."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, there in present.items() if there)
    if not present[wanted]:
        there = [device for device, is_there in present.items() if is_there]
        raise ConfigError(f"training.device: no {wanted} on this machine, allowed: auto, {', '.join(there)}")
    return wanted


def usable_cores() -> int:
    """Return the number of cores that this process may use: of its affinity and of its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = container_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota + 0.5)))


def container_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return how many cores' time the control group of this process and those above it give; None without a limit."""
    limits = [_quota_of(group) for group in control_groups("cpu", root, own)]
    return min((limit for limit in limits if limit is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """Return the quota of one control group, of version 2 (cpu.max) or 1 (cpu.cfs_quota_us)."""
    try:
        if (file := group / "cpu.max").is_file():
            quota, period = file.read_text(encoding="utf-8").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file, or `max`
        return None


@functools.cache
def usual_precision(device: str) -> str:
    """Return bf16 where this machine is faster with it, else fp32: measured once for a processor and version of torch.

    It changes every number of a run, so it is kept: a busy minute must not choose another one for the same command.
    """
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    what = {"device": device, "name": name, "torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    folder = cache_folder() / "precision" / hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    with missing(folder) as fresh:
        if fresh:
            with new_entry(folder) as beside:
                measured = {**what, "precision": "bf16" if bf16_is_fast(device) else "fp32"}
                (beside / "precision.json").write_text(json.dumps(measured), encoding="utf-8")
    return str(json.loads((folder / "precision.json").read_text(encoding="utf-8"))["precision"])


def bf16_is_fast(device: str) -> bool:
    """Measure, in milliseconds, whether products of a small encoder's size are faster in bf16 than in float32.

    In turn, the fastest of many, on one core, which waits for no other. A GPU has larger ones to do: such a small one
    tells how long it takes to ask for it.
    """
    import torch

    rows, width = (640, 384) if device == "cpu" else (8192, 1024)

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(rows, width, dtype=dtype, device=device)
        b = torch.ones(width, 4 * width, dtype=dtype, device=device)
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        return time.perf_counter() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        both = [(seconds(torch.bfloat16), seconds(torch.float32)) for _ in range(30)]
    finally:
        torch.set_num_threads(threads)
    bf16, fp32 = (min(times) for times in zip(*both, strict=True))
    return bool(bf16 < 0.75 * fp32)


def choose_attention(lengths: NDArray[np.int64], device: str) -> str:
    """Return the faster attention kernel for texts of these lengths.

    MiniLM-L6 on two cores, bf16, batch 32, tokens a second: 20 tokens eager 6,300, sdpa 4,000; 256 tokens eager 4,100,
    sdpa 5,000.
    """
    return "eager" if device == "cpu" and np.percentile(lengths, 95) < SHORT else "sdpa"


def peak_memory_mb() -> float:
    """Return the most resident memory this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024


def describe_machine() -> dict[str, Any]:
    """Return what decides speed and bits: processor, cores, memory, accelerator. No host or user name."""
    import psutil
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "accelerator": accelerator,
    }


@functools.cache
def processor() -> str:
    """Return the processor's name, with its family and model: a virtual machine's name says neither."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    first = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = first.get("model name") or platform.processor() or platform.machine()
    told = [f"{what} {first[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in first]
    return f"{name} ({', '.join(told)})" if told else name
