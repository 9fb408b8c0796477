"""The command `ftclf`, also as `python -m ftclf`."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

PLATFORMS = ("linux", "darwin")


def main() -> None:
    """Run one command and end the process with its exit code."""
    if sys.platform not in PLATFORMS:  # before modules are imported that such a Python does not have
        print(f"error: ftclf runs on Linux and macOS, not on {sys.platform}; on Windows use WSL", file=sys.stderr)
        sys.exit(2)
    _open_what_is_closed()
    from ftclf.cli.main import run
    from ftclf.system.process_exit import leave

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a label that the terminal's encoding lacks is spelt out
    leave(run(sys.argv[1:]))


def _open_what_is_closed() -> None:
    """Let standard streams that the shell closed, as by `>&-`, lead nowhere.

    A file that is opened later would take the free number, and whatever a library prints would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, for as long as the process lives
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    main()
