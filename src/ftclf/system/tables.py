"""Tables on the console. Each fits its width: columns are left out, then texts are cut with a mark; numbers never are.

All text in them is shown as it is: no markup, no control characters.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ftclf.system.console import colours, emit, printable, say_lines, width_of

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2  # between columns
READABLE = 30  # a text is cut to no less as long as columns can be left out,
SHORTEST = 12  # and to no less at all
CUT = "…"
WIDEST_PROSE = 100


@dataclass(frozen=True)
class Column:
    """One column. Of those that do not fit, those with the highest `spare` are left out first; 0 always stays."""

    name: str
    cells: list[str]
    numeric: bool = False
    spare: int = 0
    note: str = ""  # what it means, below the table
    path: bool = False  # its end tells cells apart: they are cut in front
    styles: dict[int, str] = field(default_factory=dict)  # of single cells, by row

    @property
    def heading(self) -> str:
        """The name in lines of a word each, so that a column is as narrow as its numbers."""
        return "\n".join(printable(self.name).replace("_", " ").split(" ")) if self.numeric else printable(self.name)

    @property
    def width(self) -> int:
        from rich.cells import cell_len

        return max((cell_len(text) for text in [*self.heading.split("\n"), *map(printable, self.cells)]), default=0)


@dataclass(frozen=True)
class Table:
    columns: list[Column]
    title: str = ""
    notes: tuple[str, ...] = ()
    all_columns: str = ""  # where the columns are that do not fit


def show(table: Table) -> None:
    """Print a table on stdout."""
    emit(rendered(table, width_of(), coloured=colours()).rstrip("\n"))


def say_table(table: Table) -> None:
    """Print a table as `say` prints its lines: the log has them too."""
    plain, shown = rendered(table, WIDEST_PROSE, coloured=False), rendered(table, width_of(), coloured=colours())
    say_lines(plain.rstrip("\n"), shown.rstrip("\n"))


def rendered(table: Table, width: int, *, coloured: bool) -> str:
    """Return the lines of a table, none wider than `width` as long as its numbers alone are not."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), width=width, force_terminal=coloured, color_system="standard" if coloured else None
    )
    columns, left_out = _fitted(table.columns, width)
    notes = [*filter(None, (column.note for column, _ in columns)), *table.notes]
    if left_out:
        more = f"; {table.all_columns}" if table.all_columns else ""
        notes.append(f"left out at this width: {', '.join(column.name for column in left_out)}{more}")
    prose = min(width, WIDEST_PROSE)
    if table.title:
        console.print(Text(printable(table.title), style="bold"), width=prose)
    for line in _lines(columns):
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    for note in notes:
        console.print(Text(printable(note), style="dim"), width=prose)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in written.split("\n"))


def _lines(columns: list[tuple[Column, int]]) -> Iterator[Text]:
    """Yield heading, rule and rows."""
    from rich.text import Text

    gap = Text(" " * GAP)
    headings = [column.heading.split("\n") for column, _ in columns]
    deepest = max(map(len, headings))
    for place in range(deepest):
        words = [lines[place - deepest + len(lines)] if place >= deepest - len(lines) else "" for lines in headings]
        yield gap.join(_padded(Text(word), column, size) for word, (column, size) in zip(words, columns, strict=True))
    yield Text("─" * _needed([size for _, size in columns]), style="dim")
    for row in range(len(columns[0][0].cells)):
        yield gap.join(_padded(_cell(column, row, size), column, size) for column, size in columns)


def _padded(text: Text, column: Column, size: int) -> Text:
    text.align("right" if column.numeric else "left", size)
    return text


def _cell(column: Column, row: int, size: int) -> Text:
    from rich.text import Text

    text = shortened(printable(column.cells[row]), size, front=column.path)
    return Text(text, style=column.styles.get(row, ""))


def shortened(text: str, size: int, *, front: bool = False) -> str:
    """Return a text in at most so many places, with … where it is cut: at its end, or in front."""
    from rich.cells import cell_len

    if cell_len(text) <= size:
        return text
    if not front and cell_len(text.split(" ")[0]) < size - 1:  # whole words
        words = text.split(" ")
        while cell_len(" ".join(words)) > size - 2:
            words.pop()
        return f"{' '.join(words)} {CUT}"
    while text and cell_len(text) > size - 1:
        text = text[1:] if front else text[:-1]
    return CUT + text if front else text + CUT


def _fitted(columns: list[Column], width: int) -> tuple[list[tuple[Column, int]], list[Column]]:
    """Return the columns that fit, each with its width, and those that are left out."""
    kept, left_out = list(columns), list[Column]()
    while _needed([_least(column, READABLE) for column in kept]) > width and any(column.spare for column in kept):
        most = max(column.spare for column in kept)
        left_out += [column for column in kept if column.spare == most]
        kept = [column for column in kept if column.spare < most]
    sizes = [column.width for column in kept]
    while (over := _needed(sizes) - width) > 0:
        longest = max(range(len(kept)), key=lambda place: sizes[place] - _least(kept[place]))
        room = sizes[longest] - _least(kept[longest])
        if room <= 0:
            break
        sizes[longest] -= min(over, room)
    return list(zip(kept, sizes, strict=True)), sorted(left_out, key=columns.index)


def _least(column: Column, text: int = SHORTEST) -> int:
    return column.width if column.numeric else min(column.width, text)


def _needed(sizes: list[int]) -> int:
    return sum(sizes) + GAP * (len(sizes) - 1)


def marked(columns: list[Column], row: int, style: str) -> list[Column]:
    """Return the columns with a style for all cells of a row that have none of their own."""
    return [replace(column, styles={row: style, **column.styles}) for column in columns]
