"""The command `ftclf`, also as `python -m ftclf`."""

import io
import sys

from ftclf.cli import run
from ftclf.leaving import leave


def main() -> None:
    """Run one command and end the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a label that the terminal's encoding lacks is spelt out
    leave(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
