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


def short(value: object) -> str:
    """Return what was got in at most 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
