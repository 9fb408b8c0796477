"""Tables of results, for a terminal as text and for a notebook as HTML. Cells are shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ftclf.system.text import shown

STYLE = "text-align: left; vertical-align: top"


def html_table(names: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> str:
    """Return an HTML table, its caption below."""
    head = "".join(f'<th style="{STYLE}">{_html(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f'<td style="{STYLE}" dir="auto">{_html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    below = f'<caption style="caption-side: bottom; text-align: left">{_html(caption)}</caption>' if caption else ""
    return f"<table>{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of text, columns under their names."""
    lines = [[str(shown(cell)).replace("\n", " ") for cell in row] for row in (names, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _html(cell: Any) -> str:
    return escape(str(shown(cell)))
