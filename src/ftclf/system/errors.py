"""Every error that a user can mend, and the exit code of each.

FtclfError           1  something in ftclf itself
├── UserError        2  a setting, a file or a folder that the user names
│   ├── ConfigError     settings
│   ├── DataError       data files
│   ├── WeightsError    a base model that cannot be had
│   ├── SmallFileError  a json or other small file that is not what it should be; most become one of the others
│   └── RunError        a run folder that is taken, missing or unfinished
├── CheckpointError  3  a checkpoint that cannot be trusted
├── DivergedError    4  a loss or a gradient that is not finite
├── ResourceError    5  a disk or a memory that does not suffice
└── SweepError       1  a sweep with failed jobs

A message is one line (a `ConfigError` may hold several): what and where, what it got, what is allowed, the next step.
"""

from __future__ import annotations

import errno
import re

# What libraries say when memory is gone: torch has no one class for it.
OUT_OF_MEMORY = "OutOfMemoryError|not enough memory|can't allocate memory|out of memory"


class FtclfError(Exception):
    exit_code = 1


class UserError(FtclfError):
    exit_code = 2


class ConfigError(UserError):
    pass


class DataError(UserError):
    pass


class WeightsError(UserError):
    pass


class RunError(UserError):
    pass


class SmallFileError(UserError):
    pass


class CheckpointError(FtclfError):
    exit_code = 3


class DivergedError(FtclfError):
    exit_code = 4


class ResourceError(FtclfError):
    exit_code = 5


class SweepError(FtclfError):
    pass


class FtclfWarning(UserWarning):
    """What the command line prints as a warning, where ftclf is used as a library."""


def as_ftclf_error(error: Exception) -> FtclfError | None:
    """Return what a user is told of an error of the system or of a library; None for a bug."""
    if isinstance(error, FtclfError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        too_long = error.errno == errno.ENAMETOOLONG  # which no file's name is: a mistake of the user
        name = short(error.filename) if too_long else error.filename
        line = f"{name}: {error.strerror}" if name else str(error.strerror)
        return UserError(line) if too_long else ResourceError(line)
    if isinstance(error, MemoryError) or re.search(OUT_OF_MEMORY, f"{type(error).__name__} {error}"):
        return ResourceError(
            "out of memory; lower training.batch_size (raise training.accumulation by as much), "
            "training.eval_batch_size or dataset.max_length; in eval and predict batch_size"
        )
    text = " ".join(str(error).split())[:300]
    if "os error 28" in text:  # safetensors has an error class of its own for a full disk
        return ResourceError(f"no space left on the disk: {text}")
    return None


def short(value: object) -> str:
    """Return what was got in at most 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
