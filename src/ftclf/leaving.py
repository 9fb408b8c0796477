"""The end of a process that does not take apart what it imported: after torch that takes over a second."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn


def leave(code: int) -> NoReturn:
    """Do what Python does first when it ends: wait for threads, call what is registered. Then leave at once."""
    private: list[tuple[Any, str]] = [(threading, "_shutdown"), (atexit, "_run_exitfuncs")]
    for module, name in private:
        getattr(module, name)()
    leave_at_once(code)


def leave_at_once(code: int = 0) -> NoReturn:
    """Write what is left to write; the system takes back the rest."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone, or it is closed
            stream.flush()
    os._exit(code)
