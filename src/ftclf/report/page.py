"""One HTML file that shows what a run is worth. It opens from disk and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.storage.run_folder import Run, find_runs, write_text
from ftclf.system.console import warn
from ftclf.system.errors import RunError
from ftclf.system.signals import stopped

if TYPE_CHECKING:
    from ftclf.report.sections import RunPage

HERE = Path(__file__).parent
GENERATOR = '<meta name="generator" content="ftclf report">'
HEAD = 2000  # characters of a page in which its generator stands


def write_reports(paths: list[Path], output: Path | None, *, overwrite: bool) -> Path:
    """Write the report of the runs at the paths: into the folder of a single run, else ./report.html."""
    runs = find_runs(paths)
    file = output or (runs[0].report if len(runs) == 1 else Path("report.html"))
    _refuse_other_file(file, overwrite=overwrite)
    write_report(runs, file)
    return file


def write_report(runs: list[Run], file: Path) -> None:
    """Write one page about finished runs (their metrics.json stands); what stood in the file is replaced."""
    write_text(file, render(runs))


@contextmanager
def page_or_warning(file: Path, *, again: str = "") -> Iterator[None]:
    """Warn where the block cannot write a page: what was trained stands without it. `again` is what tries once more."""
    try:
        yield
    except Exception as error:
        if stopped():
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"{file} could not be written ({reason}){again and f'; once that is mended: {again}'}")


def write_diverged(run: Run, reason: str) -> None:
    """Write the page of a run that ended because its numbers were no longer finite."""
    from ftclf.report.material import read_unfinished
    from ftclf.report.sections import diverged_page

    write_text(run.report, _rendered([diverged_page(read_unfinished(run), reason)], []))


def render(runs: list[Run]) -> str:
    """Return the page. Of several runs, one whose files are damaged is left out with a warning.

    Raises RunError where none is left.
    """
    from ftclf.report.leaderboard import comparable
    from ftclf.report.sections import comparison

    materials: list[Any] = []
    pages: list[RunPage] = []
    problem: RunError | None = None
    for run in comparable(runs) if len(runs) > 1 else runs:
        try:
            material, page = _read(run, f"run{len(pages) + 1}")
        except RunError as error:
            problem = error
            if len(runs) > 1:
                warn(f"{run.folder} is left out: {error}")
            continue
        materials.append(material)
        pages.append(page)
    if problem is not None and not pages:
        raise problem
    return _rendered(pages, comparison(materials) if len(materials) > 1 else [])


def _read(run: Run, key: str) -> tuple[Any, RunPage]:
    """Read one run and make its part of the page. Raises RunError where its files are not what a run writes."""
    from ftclf.report.leaderboard import OF_DAMAGE
    from ftclf.report.material import read_material
    from ftclf.report.sections import run_page

    material = read_material(run)
    try:
        return material, run_page(material, key)
    except OF_DAMAGE as error:
        raise RunError(f"{run.folder}: its files are damaged or of another version ({error!r:.80})") from error


def _rendered(pages: list[RunPage], comparison: list[Any]) -> str:
    return fill_template(
        "page.html.jinja",
        pages=pages,
        comparison=comparison,
        shared=_shared_title(pages),
        jobs={row["key"]: row["name"] for group in comparison for row in group["rows"]},
        generator=GENERATOR,
    )


def fill_template(name: str, /, *, generator: str, **content: Any) -> str:
    """Return a page of the look of the report, with its style and script inside."""
    from markupsafe import Markup

    script = (HERE / "sort.js").read_text(encoding="utf-8")
    # Markup says that these three are markup: they are ours, and hold nothing of a run.
    page: str = (
        _templates()
        .get_template(name)
        .render(
            **content,
            generator=Markup(generator),
            style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    return page


def _shared_title(pages: list[RunPage]) -> list[str]:
    """Return what all runs have of data, model and method."""
    return [parts[0] for parts in zip(*(page.title for page in pages), strict=True) if len(set(parts)) == 1]


@functools.cache
def _templates() -> Any:
    import jinja2

    from ftclf.score.wording import score_name
    from ftclf.system import text

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,  # every text of a data set, label or name is text, never markup
        finalize=text.shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (text.number, text.interval, text.count, text.counted, text.percent, text.opened, score_name)
    environment.filters.update({filter_.__name__: filter_ for filter_ in filters})
    return environment


def _refuse_other_file(file: Path, *, overwrite: bool) -> None:
    if file.is_dir():
        raise RunError(f"output: {file} is a folder; name a file")
    if overwrite or not file.exists():
        return
    with file.open(encoding="utf-8", errors="replace") as opened:
        if GENERATOR not in opened.read(HEAD):
            raise RunError(f"output: {file} is something else than an ftclf report; name another or add overwrite=true")
