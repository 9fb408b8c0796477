"""What `ftclf check` prints and writes: the table, the page, check.json, and its exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_report import CHROMIUM, HARMLESS, HOSTILE, Page, browse_frame

from conftest import make_rows, write_csv
from ftclf.cli.main import run
from ftclf.data import Data, Split
from ftclf.data.check.finding import Example, Finding
from ftclf.data.text_store import write_texts
from ftclf.report.check_page import check_page, excerpt
from ftclf.report.check_table import findings_table
from ftclf.system.tables import rendered
from ftclf.system.text import HIDDEN


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with clean rows, and with rows of every planted mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write_csv(tmp_path / "clean.csv", make_rows(300))
    planted = [(f"{text} zeta" if label == "space" else text, label) for text, label in make_rows(300)]
    planted[7] = ("caf\u00c3\u00a9 with bread", "food")
    planted[8] = ("<b>goal</b> of the team", "sport")
    planted[9:29] = [("match goal " * 100 + str(number), "sport") for number in range(20)]
    write_csv(tmp_path / "planted.csv", planted)
    return tmp_path


@pytest.fixture
def words(tiny_models: dict[str, Path]) -> list[str]:
    return ["dataset=files", f"model.name={tiny_models['bert']}"]


def report_of(folder: Path) -> dict[str, dict[str, object]]:
    """Return the findings of a check by their titles."""
    found = json.loads((folder / "check.json").read_text(encoding="utf-8"))["findings"]
    return {finding["title"]: finding for finding in found}


def test_options_count_as_settings_and_the_next_step_is_one_that_can_be_pasted(
    project: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(project / "twice.csv", make_rows(300) + make_rows(30))
    assert run(["check", "twice.csv", *words[1:], "--strict", "output=first"]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    command = last.partition("next: ")[2]
    assert command == f"ftclf check twice.csv {words[1]} strict=true fix=clean"
    assert run(["check", "twice.csv", *words[1:], "--fix", "clean", "--strict"]) == 1
    *_, tally, sentence, command = capsys.readouterr().out.splitlines()
    assert "next:" not in tally  # the clean copy is there, and the next line is about it
    assert sentence.startswith("clean: without ")
    assert command.startswith(f"  ftclf train dataset=files dataset.train={project}/clean/train.csv")
    assert run(["check", "twice.csv", *words[1:], "--fix", "clean"]) == 2  # nothing is written over
    assert "clean is not empty" in capsys.readouterr().err


def test_a_clean_set_passes_and_strict_ends_with_0(
    project: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", *words, "dataset.train=clean.csv", "strict=true"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("clean: 216 train, 24 validation, 60 test rows, 3 labels")
    (page,) = project.glob("checks/clean/*/check.html")
    assert re.fullmatch(rf"\d+ notes?, \d+ ok; {page.relative_to(project)}; next: ftclf train .*", shown[-1])
    assert shown[-1].endswith("dataset.train=clean.csv")
    assert max(map(len, shown[:-1])) <= 80


def test_planted_mistakes_are_found_and_strict_ends_with_1(
    project: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [*words, "dataset.train=planted.csv", "output=seen"]
    assert run(["check", *wanted, "strict=true"]) == 1
    shown = capsys.readouterr().out
    assert (project / "seen" / "check.html").is_file()
    findings = report_of(project / "seen")
    for title, count in (
        ("rows with characters of a wrong encoding, as Ã© for é", 1),
        ("rows with HTML tags or entities", 1),
        ("rows cut at dataset.max_length=128", 20),
        ("labels that a token gives away", 1),
    ):
        assert title in " ".join(shown.split())
        assert (findings[title]["count"], findings[title]["verdict"] != "ok") == (count, True), title
    assert "see planted.csv:9" in shown
    assert "'zeta' in 100% of space" in " ".join(shown.split())
    assert re.search(r"^warning +1 +33% +labels that a token gives away$", shown, re.MULTILINE)


def test_the_json_has_figures_versions_and_seconds(project: Path, words: list[str]) -> None:
    assert run(["check", *words, "dataset.train=planted.csv", "output=seen"]) == 0
    found = json.loads((project / "seen" / "check.json").read_text(encoding="utf-8"))
    assert sum(found["rows"].values()) == 300
    assert sum(sum(splits.values()) for splits in found["labels"].values()) == 300
    assert found["worst"] == "warning"
    assert sum(found["verdicts"].values()) == len(found["findings"])
    assert found["seconds"]["in all"] > 0
    assert {"ftclf", "numpy", "tokenizers", "python"} <= set(found["versions"])
    lengths = next(finding for finding in found["findings"] if "dataset.max_length" in finding["title"])
    assert sum(rows for _, _, rows in lengths["figures"]["histogram"]) == 300
    assert all(len(example["text"]) <= 302 for finding in found["findings"] for example in finding["examples"])


def test_rows_that_were_left_out_are_counted(project: Path, words: list[str]) -> None:
    write_csv(project / "empty.csv", [*make_rows(120), ("", "food"), (" ", "space")])
    assert run(["check", *words, "dataset.train=empty.csv", "dataset.drop_empty=true", "output=seen"]) == 0
    finding = report_of(project / "seen")["rows without a text or label, left out by dataset.drop_empty"]
    assert (finding["count"], finding["of"]) == (2, 122)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["dataset.train=clean.csv", "output=full"], "output: {}/full is not empty, allowed: a new "),
        (
            ["dataset.train=clean.csv", "output=clean.csv"],
            "output: {}/clean.csv is no folder, allowed: a ",
        ),
        (["dataset.train=nowhere.csv"], "nowhere.csv"),
        (["dataset.train=empty.csv"], "the text is empty"),
        (["dataset.train=clean.csv", "near=2"], "near: got 2"),
        (["dataset.train=clean.csv", "model.name=./nowhere"], "model.name: no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    project: Path, words: list[str], capsys: pytest.CaptureFixture[str], given: list[str], line: str
) -> None:
    (project / "full").mkdir()
    (project / "full" / "mine.txt").touch()
    write_csv(project / "empty.csv", [*make_rows(30), ("", "food")])
    before = sorted(project.rglob("*"))
    names = {word.partition("=")[0] for word in given}
    assert run(["check", *(word for word in words if word.partition("=")[0] not in names), *given]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert line.format(project) in error
    assert sorted(project.rglob("*")) == before


def test_a_second_check_gets_a_folder_of_its_own(project: Path, words: list[str]) -> None:
    for _ in range(2):
        assert run(["check", *words, "dataset.train=clean.csv"]) == 0
    assert len(list(project.glob("checks/clean/*/check.json"))) == 2


@pytest.mark.parametrize(
    ("text", "sign", "shown"),
    [
        ("short", "", "short"),
        ("a" * 400, "", "a" * 300 + "…"),
        ("b" * 500 + "<i>" + "c" * 500, "<i>", "…" + "b" * 150 + "<i>" + "c" * 147 + "…"),
        ("<i>" + "c" * 500, "<i>", "<i>" + "c" * 297 + "…"),
        ("d" * 400, "400 characters", "d" * 300 + "…"),
    ],
)
def test_an_excerpt_shows_what_an_example_is_about(text: str, sign: str, shown: str) -> None:
    assert excerpt(text, sign) == shown


# ---- the table and the page on findings of any kind


def finding(word: str, verdict: str = "warning", text: str = "a text") -> Finding:
    figures = {
        "a share": 0.25,
        f"{word} table": [{"token": word, "rows": number} for number in range(12)],
        "pairs": {word: 3, f"{word} two": 4},
    }
    seen = [Example("train", 0, f"{word}.csv:2", text, [word], why=word)] * 5
    return Finding("labels", f"rows of {word}", verdict, 3, 8000, f"do {word}", seen, figures=figures)


def data_of(labels: list[str]) -> Data:
    split = Split(write_texts([f"text of {label}" for label in labels]), np.arange(len(labels)))
    return Data(labels[0], labels, {"train": split, "test": split}, [f"a note on {label}" for label in labels])


def test_the_table_shows_the_gravest_first_and_fits_80_columns() -> None:
    findings = [finding("one", "note"), finding("two", "ok"), finding("three", "error"), finding("four " * 30)]
    lines = rendered(findings_table(findings, "title", 80), 80, coloured=False).splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split()[0] for line in lines[3:] if re.match(r"(error|warning|note|ok) ", line)]
    assert heads == ["error", "warning", "note"]
    assert "1 check found nothing; the page lists them" in lines
    assert re.search(r"^error +3 +<0.1% +rows of three$", "\n".join(lines), re.MULTILINE)
    assert "\x1b[" in rendered(findings_table(findings, "title", 80), 80, coloured=True)


def test_a_table_without_findings_is_a_title_and_a_line() -> None:
    lines = rendered(findings_table([finding("two", "ok")], "title", 80), 80, coloured=False).splitlines()
    assert lines[0] == "title"
    assert lines[-1] == "1 check found nothing; the page lists them"


def test_hostile_texts_labels_and_places_leave_no_markup() -> None:
    def shape(given: list[str]) -> list[tuple[str, list[str]]]:
        findings = [finding(word, text=f"{word} in a text") for word in given]
        html = check_page(data_of(given), given[0], findings, about=given[:3])
        assert not HIDDEN.search(html)
        page = Page(html)
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert {link["href"][:1] for link in page.all("a")} == {"#"}
        places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(places) == len(set(places))
        assert {link["href"][1:] for link in page.all("a")} <= set(places)
        return [(tag, sorted(attributes)) for tag, attributes in page.tags]

    assert shape(HOSTILE) == shape(HARMLESS)


SCRIPT = """
  found.width = page.documentElement.scrollWidth;
  page.querySelectorAll("details").forEach((part) => { part.open = true; });
  found.open = page.documentElement.scrollWidth;
  const input = page.querySelector("[data-search=label-rows-table]");
  input.value = "label 17";
  input.dispatchEvent(new Event("input"));
  const rows = [...page.querySelectorAll("#label-rows-table tbody tr")];
  found.searched = rows.filter((row) => row.offsetHeight).map((row) => row.cells[0].textContent);
  page.querySelector("#overview-table thead th:nth-of-type(3) button").click();
  found.sorted = page.querySelector("#overview-table th[aria-sort]").getAttribute("aria-sort");
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path: Path, width: int) -> None:
    labels = [f"label {number} " + "with_a_long_name" * (number % 4) for number in range(40)]
    findings = [finding(label, text="x" * 250) for label in labels[:8]]
    (tmp_path / "check.html").write_text(check_page(data_of(labels), "d" * 90, findings, about=["y" * 200]), "utf-8")
    found = browse_frame(tmp_path / "check.html", width, tmp_path, SCRIPT)
    assert found["width"] <= width
    assert found["open"] <= width
    assert found["searched"] == [labels[17]]
    assert found["sorted"] == "descending"
