"""`python -m ftclf` is the command `ftclf`."""

from ftclf.cli import main

if __name__ == "__main__":
    main()
