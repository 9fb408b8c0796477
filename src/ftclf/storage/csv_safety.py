"""csv files that a spreadsheet can open without running what stands in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import IO, Any

# How a text begins that spreadsheets run. Source: OWASP, "CSV Injection".
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def write_lines(file: IO[str], lines: Iterable[Iterable[Any]]) -> None:
    """Write lines of cells. Texts stand in quotes, as some spreadsheets also cut cells at semicolons."""
    csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows(map(harmless, line) for line in lines)


def harmless(cell: Any) -> Any:
    """Put a ' before a text that a spreadsheet would run as a formula; numbers stay as they are, as texts too."""
    runs = isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if runs else cell
