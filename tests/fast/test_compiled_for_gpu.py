"""Kernels that triton's interpreter runs may still be none that a GPU can have: they are compiled for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton")

KERNELS = {
    *("_dropped", "_norm_forward", "_norm_backward", "_gelu_forward", "_gelu_backward"),
    *("_sum_rows", "_forward", "_backward", "_squares", "_step"),
    *("_narrow", "_widen", "_input_gradient", "_factor_gradients"),
}


@pytest.mark.slow
def test_all_kernels_of_a_step_compile_for_a_gpu(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": f"{here}:{here.parent}",
        "TRITON_INTERPRET": "0",
    }
    command = [sys.executable, str(here / "compile_for_gpu.py"), str(tiny_models["bert"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {line.split()[0] for line in done.stdout.splitlines()} == KERNELS
