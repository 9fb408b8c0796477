"""Tables on the console that fit on it. All text in them is shown as it is: no markup, no control characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftclf.system.console import printable

if TYPE_CHECKING:
    from rich.table import Table


def new_table(title: str, caption: str) -> Table:
    """Return an empty table; title and caption stand for themselves, like everything in it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text(printable(title), style="bold"),
        caption=Text(printable(caption), style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def add_column(table: Table, name: str, *, numeric: bool = False) -> None:
    """Add a column; the first is the name of what a row is about."""
    from rich.text import Text

    # Spaces, so that long headings break between words.
    heading = Text(printable(name).replace("_", " ").replace("/", " /"))
    table.add_column(heading, justify="right" if numeric else "left", overflow="fold")


def add_row(table: Table, cells: list[str]) -> None:
    """Add cells as Text, not markup: a label or folder name like x[/] stands for itself."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))


def show_table(table: Table) -> None:
    """Print a table as wide as the terminal; 200 places wide into a file."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if console.measure(table, options=console.options.update(max_width=10_000)).maximum > console.width:
        _fold_names(table, console.width)
    console.print(table)


def _fold_names(table: Table, width: int) -> None:
    """Fold the first column and headings rather than numbers, if that leaves a name 12 places."""
    table.padding = 0
    words = [
        max(len(part) for part in [*map(str, column.cells), *str(column.header).split()])
        for column in table.columns[1:]
    ]
    left = width - sum(words) - len(words) - 2
    if left >= 12:
        for column, size in zip(table.columns, [left, *words], strict=True):
            column.width = size
