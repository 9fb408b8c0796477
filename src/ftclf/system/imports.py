"""torch and transformers as commands import them: quiet, and without what no command needs."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ftclf.system.library import library_use
from ftclf.system.signals import unbroken


def quiet_libraries() -> None:
    """Import torch and transformers, without their bars; their messages go to our log alone, or nowhere without one.

    In a process of somebody else they are imported as they are, and silent: `process_kept` gives them their voice back.
    """
    ours = library_use() is None
    if ours:
        logging.captureWarnings(True)
    logger = logging.getLogger() if ours else logging.getLogger("transformers")
    logger.addHandler(logging.NullHandler())  # without a handler, Python prints warnings itself
    with unbroken():  # a signal that breaks into torch's C++ while it is set up aborts the process
        import torch  # noqa: F401
        import transformers

    # It would import `datasets`, and pandas with it, only to ask whether our rows are of them, and scipy's optimisers
    # for losses of object detection: 130 MB.
    utils: Any = transformers.utils
    if ours:
        utils.is_datasets_available = utils.is_scipy_available = lambda: False
        if not may_have_gpu():
            _pass_over_triton()
    logs = utils.logging
    logs.disable_progress_bar()
    logs.disable_default_handler()
    logs.enable_propagation()


def _pass_over_triton() -> None:
    """Keep torch from importing the compiler of kernels for GPUs wherever it is installed: 50 MB."""
    with suppress(ImportError):
        import torch.utils._triton as found

        found.has_triton_package = lambda: False  # type: ignore[assignment]


def may_have_gpu() -> bool:
    """Return whether a GPU may be found here, without asking torch, which takes seconds to import."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return not hidden and any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))
