"""`python -m ftclf` is the command `ftclf`."""

from ftclf.cli import main

main()
