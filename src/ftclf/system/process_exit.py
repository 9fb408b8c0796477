"""The end of a process that does not take apart what it imported: after torch that takes over a second."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Do what Python does first when it ends: wait for threads, call what is registered. Then leave at once."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    leave_at_once(code)


def leave_at_once(code: int = 0) -> NoReturn:
    """Write what is left to write; the system takes back the rest."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone, or it was closed
            print(end="", file=stream, flush=True)
    os._exit(code)
