"""The report: one file that says what metrics.json says, shows hostile text as text, and can be read by everyone."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TrainTiny
from ftclf.checkpoint.format import read_info, write_info
from ftclf.cli.main import run as run_command
from ftclf.config import HEADLINES, DecisionConfig
from ftclf.config.settings import BASELINES
from ftclf.data import Split
from ftclf.data.text_store import write_texts
from ftclf.report.evaluation_files import write_evaluation
from ftclf.report.material import read_material
from ftclf.report.page import HERE, render, write_report
from ftclf.report.scores import sentence
from ftclf.report.slices import slices
from ftclf.score.bootstrap import wilson
from ftclf.score.evaluation import score, settle
from ftclf.score.wording import against
from ftclf.storage.run_folder import Run, read_json, write_json
from ftclf.system.text import HIDDEN, cut, interval, shown

VOID = {"meta", "link", "input", "br", "path", "rect", "circle"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</script></title></style><b>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}{% raw %}",
    "]]><!--",
    "\x1b[31mred\x07\x00\u202eright\u2066to\u2069left\u200f",
    "' onmouseover='alert(1)",
    "&lt;i&gt;&amp;",
]

# as many words, so that the slices by length are the same
HARMLESS = [re.sub("[^a-zA-Z0-9 ]", "x", words) for words in HOSTILE]

MakeRun = Callable[..., Run]


class Page(HTMLParser):
    """What a parser finds in a page: every tag with its attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is closed where something else is open"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Run) -> Page:
    write_report([run], run.report)
    return Page(run.report.read_text(encoding="utf-8"))


@pytest.fixture
def make_run(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Make a finished run of any labels from random logits, by the functions that training calls."""
    monkeypatch.setattr("ftclf.report.plots.plot_confusion", lambda *_, **__: None)

    def make(
        names: list[str],
        *,
        task: str = "single_label",
        rows: int = 120,
        texts: list[str] | None = None,
        folder: str | None = None,
    ) -> Run:
        run = Run(tmp_path / (folder or f"made{len(list(tmp_path.iterdir()))}"))
        info = replace(read_info(trained.checkpoint), label_names=names, task=task)
        metrics: dict[str, Any] = {}
        for seed, split in enumerate(("validation", "test")):
            logits, found = random_rows(seed, names, task=task, rows=rows, texts=texts or ["some text"])
            if split == "validation":
                asked = "platt" if task == "multi_label" else "temperature"
                wanted = DecisionConfig(min_precision=0.3, min_positives=60, calibration=asked)
                settle(info, logits, found.labels, wanted)
            evaluation = score(logits, found, info)
            write_evaluation(evaluation, found, names, split, predictions=run.predictions, plots=run.plots)
            metrics[split] = evaluation.metrics
        metrics["baselines"] = {name: baseline(metrics["test"], task, name) for name in BASELINES}
        shutil.copy(trained.history, run.history)
        write_json(run.config, read_json(trained.config))
        write_json(run.manifest, read_json(trained.manifest) | {"task": task, "notes": (texts or ["a note"])[:9]})
        write_info(run.checkpoint, info)
        write_json(run.metrics, metrics)
        return run

    return make


def random_rows(seed: int, names: list[str], *, task: str, rows: int, texts: list[str]) -> tuple[np.ndarray, Split]:
    """Return logits that are a little better than chance, and their rows with a column to slice by."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, len(names))).astype(np.float32)
    labels = np.arange(rows) % len(names)
    logits[np.arange(rows), labels] += 1
    several = random.random((rows, len(names))) < 0.1
    several[np.arange(rows), labels] = True
    columns = {"source": [("forum", "mail", "shop")[row % 3] for row in range(rows)]}
    said = [texts[row % len(texts)] for row in range(rows)]
    return logits, Split(write_texts(said), several if task == "multi_label" else labels, columns)


def baseline(test: dict[str, Any], task: str, name: str) -> dict[str, Any]:
    """Return a baseline that is 0.04 behind in every score."""
    scores = {score: test[score] + (0.04 if score == "log_loss" else -0.04) for score in HEADLINES[task]}
    return {
        "about": name,
        "scores": scores,
        "intervals": {score: [value - 0.01, value + 0.01] for score, value in scores.items()},
        "difference": {
            score: [test[score] - value, test[score] - value - 0.012, test[score] - value + 0.012]
            for score, value in scores.items()
        },
        "seconds": 12.3,
    }


@pytest.fixture
def whole(make_run: MakeRun) -> Run:
    return make_run(["food", "space", "sport"], rows=240)


@pytest.fixture
def whole_multi_label(make_run: MakeRun) -> Run:
    return make_run(["joy", "fear", "anger"], task="multi_label")


def test_the_report_is_one_file_and_asks_for_nothing_from_elsewhere(whole: Run) -> None:
    page = page_of(whole)
    assert not [tag for tag in ("img", "iframe", "object", "embed", "base", "form") if page.all(tag)]
    assert not [attributes for _, attributes in page.tags if "src" in attributes or "xlink:href" in attributes]
    assert {link["href"][:1] for link in page.all("a")} == {"#"}
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", page.texts["style"][0] + page.texts["script"][0])


def test_every_link_leads_to_a_place_in_the_page(whole: Run) -> None:
    page = page_of(whole)
    places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(places) == len(set(places))
    assert {link["href"][1:] for link in page.all("a")} <= set(places)


def test_only_the_pages_own_script_may_run(whole: Run) -> None:
    page = page_of(whole)
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    (script,) = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_hostile_texts_labels_and_names_leave_no_markup(make_run: MakeRun, tmp_path: Path, task: str) -> None:
    """The hostile page has the very tags and attributes of a harmless one, and no control character."""

    def shape(words: list[str]) -> list[tuple[str, list[str]]]:
        folder = f"run {len(list(tmp_path.iterdir()))} {words[0][:8].replace('/', '')}"
        run = make_run(words, task=task, texts=[f"{word} in a text" for word in words], folder=folder)
        _name_everything(run, words)
        write_report([run], run.report)
        html = run.report.read_text(encoding="utf-8")
        assert not HIDDEN.search(html)
        return [(tag, sorted(attributes)) for tag, attributes in Page(html).tags]

    assert shape(HOSTILE) == shape(HARMLESS)


def _name_everything(run: Run, words: list[str]) -> None:
    """Put words wherever a user's own text can stand besides the rows: data, model, settings, baselines, columns."""
    import pyarrow.parquet as pq

    config, manifest, metrics = (read_json(path) for path in (run.config, run.manifest, run.metrics))
    config["dataset"] |= {"about": words[0], "terms": words[1], "name": words[2], "label_groups": {words[3]: words}}
    config["model"] |= {"name": words[4].replace("/", ""), "pin": {}}
    config["method"]["kind"] = words[5]
    manifest |= {"dataset": words[2], "command": words[6], "git_commit": words[7], "date": words[1]}
    metrics["baselines"][words[0]] = metrics["baselines"].pop("majority") | {"about": words[2]}
    for path, value in ((run.config, config), (run.manifest, manifest), (run.metrics, metrics)):
        write_json(path, value)
    table = pq.read_table(run.predictions / "test.parquet")
    names = [f"column_{words[1]}" if name == "column_source" else name for name in table.column_names]
    values = [words[row % len(words)] for row in range(table.num_rows)]
    table = table.rename_columns(names).append_column("column_other", [values])
    pq.write_table(table, run.predictions / "test.parquet")


def test_a_hostile_page_of_several_runs_leaves_no_markup(make_run: MakeRun, tmp_path: Path) -> None:
    def shape(words: list[str]) -> list[tuple[str, list[str]]]:
        runs = [make_run(words, texts=words) for _ in range(2)]
        for word, run in zip(words[3:], runs, strict=False):
            config = read_json(run.config)
            config["training"]["schedule"] = word
            write_json(run.config, config)
        write_report(runs, tmp_path / "report.html")
        return [(tag, sorted(found)) for tag, found in Page((tmp_path / "report.html").read_text()).tags]

    assert shape(HOSTILE) == shape(HARMLESS)


def test_control_characters_are_spelt_out_and_scripts_of_the_right_stay() -> None:
    assert shown("a\x1b[31m\u202eb\ud800") == "a\\x1b[31m\\u202eb\\ud800"
    assert shown("שלום\u200f 👩\u200d💻\n") == "שלום\u200f 👩\u200d💻\n"
    assert shown(None) == ""
    assert len(cut("x" * 400)) == 301


def test_the_numbers_of_the_page_are_those_of_the_metrics(whole: Run) -> None:
    test, page = read_json(whole.metrics)["test"], page_of(whole)
    low, high = test["intervals"]["accuracy"]
    assert f"Accuracy {test['accuracy']:.3f} [{low:.3f}, {high:.3f}] on {test['rows']} test rows" in page.texts["p"][0]
    values = {float(cell["data-v"]) for cell in page.all("td") if cell.get("data-v")}
    shown_scores = [test[name] for name in ("accuracy", "macro_f1", "weighted_f1", "log_loss")]
    for row in test["per_class"]:
        shown_scores += [row[name] for name in ("precision", "recall", "f1", "support")]
    assert values >= set(shown_scores)


def test_the_matrix_holds_the_counts_of_the_csv(whole: Run) -> None:
    material = read_material(whole)
    assert material.confusion is not None
    cells = page_of(whole).texts["b"]
    assert list(map(int, cells)) == [count for count in material.confusion.toarray().ravel().tolist() if count]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([0.041, 0.029, 0.053], "4.1 points above TF-IDF [2.9, 5.3]"),
        ([0.004, -0.003, 0.011], "inconclusive against TF-IDF: +0.4 points [−0.3, 1.1]"),
        ([-0.041, -0.053, -0.029], "4.1 points below TF-IDF [2.9, 5.3]"),
    ],
)
def test_the_first_line_says_how_the_run_does_against_the_best_baseline(
    whole: Run, found: list[float], words: str
) -> None:
    material = read_material(whole)
    for baseline in material.metrics["baselines"].values():
        baseline["difference"]["accuracy"] = [0.2, 0.1, 0.3]
    material.metrics["baselines"]["tfidf"]["difference"]["accuracy"] = found
    assert sentence(material).endswith(f"; {words}.")


def test_nothing_is_less_than_nothing() -> None:
    assert interval([-1e-17, 0.031]) == "[0.000, 0.031]"


def test_a_lower_loss_is_better() -> None:
    assert against([-0.2, -0.3, -0.1], "log_loss", "TF-IDF") == "0.200 below TF-IDF [0.100, 0.300]"


def test_a_run_without_baselines_and_calibration_has_a_report(trained: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "old"))
    metrics = read_json(run.metrics)
    metrics.pop("baselines", None)
    for name in ("calibration", "selective"):
        metrics["test"].pop(name, None)
    write_json(run.metrics, metrics)
    assert "TF-IDF" not in page_of(run).texts["main"][0]
    for rows in metrics["test"], *metrics["test"]["per_class"]:
        del rows["intervals"]
    write_json(run.metrics, metrics)
    assert "[" not in page_of(run).texts["p"][0]
    shutil.rmtree(run.predictions)
    shutil.rmtree(run.plots)
    assert "Scores" in page_of(run).texts["h2"]


def test_what_was_not_calibrated_has_one_line_and_no_before(whole: Run) -> None:
    assert {"before", "after"} <= set(page_of(whole).texts["th"])
    metrics = read_json(whole.metrics)
    metrics["test"]["calibration"]["method"] = "none"
    write_json(whole.metrics, metrics)
    page = page_of(whole)
    assert "before" not in page.texts["th"]
    assert "as it is" in page.texts["th"]
    assert len(page.all("rect")) == 0


def test_a_bin_of_few_rows_is_hollow_and_its_rows_are_told(whole: Run) -> None:
    metrics = read_json(whole.metrics)
    bins = metrics["test"]["calibration"]["bins"]
    for row in bins:
        row["count"] = 10
    bins[1] |= {"count": 9, "confidence": 0.314}
    metrics["test"]["calibration"]["bins_before"] = bins[2:]
    write_json(whole.metrics, metrics)
    page = page_of(whole)
    hollow = [dot for dot in page.all("circle") if "hollow" in dot["class"]]
    assert len(hollow) == 1
    assert len(page.all("rect")) == len(bins) - 2
    assert "Hollow: bins of fewer than 10 rows (after calibration 9 at 0.31)." in " ".join(page.texts["figcaption"])


def test_rows_per_label_of_every_split_stand_beside_its_scores(trained: Run) -> None:
    page, kept = Page(render([trained])), read_json(trained.manifest)
    assert {name: sum(counts) for name, counts in kept["label_rows"].items()} == kept["rows"]
    heads = [head for head in page.texts["th"] if head.endswith(" rows")]
    assert heads == ["train rows", "validation rows", "test rows"]
    cells = [int(cell["data-v"]) for cell in page.all("td") if cell.get("data-v", "").isdigit()]
    rows = [list(row) for row in zip(*kept["label_rows"].values(), strict=True)]
    assert [cells[at : at + 3] for at in range(0, 9, 3)] == rows


def test_every_example_says_where_it_stands_in_its_file(trained: Run, reviews: Path) -> None:
    page, lines = Page(render([trained])), reviews.read_text(encoding="utf-8").splitlines()
    places = [text for text in page.texts["bdi"] if text.startswith("reviews.csv:")]
    assert len(places) == len(page.texts["blockquote"]) > 0
    for place, text in zip(places, page.texts["blockquote"], strict=True):
        assert text.rstrip("…") in lines[int(place.rpartition(":")[2]) - 1].replace('""', '"')
    assert read_json(trained.manifest)["sources"] == dict.fromkeys(("train", "validation", "test"), "reviews.csv")


def test_a_run_of_before_names_rows_of_its_predictions(whole: Run) -> None:
    page = page_of(whole)
    places = [text for text in page.texts["bdi"] if text.startswith("predictions/test.parquet, row ")]
    assert len(places) == len(page.texts["blockquote"]) > 0


def test_the_most_useful_facts_stand_at_the_top(trained: Run) -> None:
    page, manifest = Page(render([trained])), read_json(trained.manifest)
    assert len(page.texts["dt"]) == len(page.texts["dd"]) == 3  # and two in the first sentence
    kept = f"the weights after step {manifest['kept_step']} of {manifest['steps']} (epoch "
    assert any(kept in line for line in page.texts["p"])


def test_a_run_on_a_users_file_is_titled_by_it(
    train_tiny: TrainTiny, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = train_tiny("training.max_steps=1", "training.threads=1", "baselines=[]")
    said = capsys.readouterr().out
    assert "\nreviews: 173 train, 19 validation, 48 test rows, 3 labels\n" in f"\n{said}"
    assert " on cpu, 1 thread, " in said
    assert Page(run.report.read_text(encoding="utf-8")).texts["h1"][0].startswith("reviews · ")
    assert " on reviews, lora\n" in (run.checkpoint / "README.md").read_text(encoding="utf-8")
    assert read_json(run.config)["dataset"]["name"] == read_json(run.manifest)["dataset"] == "files"
    assert run_command(["compare", str(run.folder)]) == 0
    assert "reviews, " in capsys.readouterr().out
    assert run_command(["eval", str(run.folder)]) == 0
    assert "48 rows of reviews" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
@pytest.mark.parametrize("labels", [2, pytest.param(150, marks=pytest.mark.slow)])
def test_two_labels_and_a_hundred_and_fifty_have_a_report(make_run: MakeRun, labels: int, task: str) -> None:
    page = page_of(make_run([f"label {index}" for index in range(labels)], task=task, rows=300))
    title = "Mistaken-for matrix" if task == "multi_label" else "Confusion matrix"
    assert [text for text in page.texts["caption"] if text.startswith(title)]


def test_several_labels_a_row_show_thresholds_rules_and_ranking(whole_multi_label: Run) -> None:
    text = page_of(whole_multi_label).texts["main"][0]
    for words in ("Threshold of each label", "shared", "Other rules", "average precision", "AUROC", "exactly right"):
        assert words in text


def test_slices_cover_the_rows_and_their_scores_are_right(whole: Run) -> None:
    material = read_material(whole)
    found = slices(material)
    assert found is not None
    assert [part["title"] for part in found["tables"]][-1] == "By column source"
    for part in found["tables"]:
        assert sum(row["rows"] for row in part["rows"]) == material.test["rows"]
        hits = sum(row["rows"] * row["cells"][0]["value"] for row in part["rows"])
        assert hits / material.test["rows"] == pytest.approx(material.test["accuracy"])


def test_micro_f1_of_a_slice_lies_in_its_interval(whole_multi_label: Run) -> None:
    found = slices(read_material(whole_multi_label))
    assert found is not None
    for part in found["tables"]:
        for row in part["rows"]:
            for cell in row["cells"]:
                low, high = cell["bounds"]
                assert low <= cell["value"] <= high, (part["title"], row)


@pytest.mark.parametrize(("hits", "rows"), [(0, 7), (7, 7), (3, 10), (581, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, rows: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_every_picture_says_its_numbers_in_words(whole: Run) -> None:
    pictures = page_of(whole).all("svg")
    assert len(pictures) == 5
    for picture in pictures:
        assert picture["role"] == "img"
        assert re.search(r"\d", picture["aria-label"]), picture


def test_tables_have_captions_and_scopes_and_headings_their_order(whole_multi_label: Run) -> None:
    page = page_of(whole_multi_label)
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all("scope" in head for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    assert [meta for meta in page.all("meta") if meta.get("name") == "viewport"]


def test_what_needs_the_script_is_hidden_without_it(whole: Run) -> None:
    page = page_of(whole)
    assert len([buttons for buttons in page.all("button") if "data-order" not in buttons]) == 0
    assert [span for span in page.all("span") if span.get("class") == "order" and "hidden" in span]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(scheme: str) -> None:
    colours = _colours(scheme)
    for text, grounds in {
        "ink": ("paper", "wash", "heat"),  # heat and wash are the ends of the matrix's shades
        "soft": ("paper", "wash"),
        "accent": ("paper",),
    }.items():
        for ground in grounds:
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def _colours(scheme: str) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", (HERE / "style.css").read_text(), re.DOTALL)
    assert len(blocks) == 2
    return dict(re.findall(r"--(\w+): (#\w{6});", blocks[scheme == "dark"]))


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_command_writes_into_the_folder_of_its_run(whole: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(whole.folder)]) == 0
    assert capsys.readouterr().out == f"report: {whole.report}\n"
    assert run_command(["report", str(whole.folder)]) == 0  # a report may be replaced by a newer one


def test_a_file_that_is_no_report_is_replaced_only_when_asked(
    whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.html"
    file.write_text("mine")
    assert run_command(["report", str(whole.folder), "--output", str(file)]) == 2
    assert "something else than an ftclf report" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert run_command(["report", str(whole.folder), "--output", str(file), "--overwrite"]) == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run_command(["report", str(whole.folder), "--output", str(tmp_path), "--overwrite"]) == 2


def test_several_runs_are_compared_best_first_on_validation(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, accuracy in (("a", 0.1), ("b", 0.9)):
        run = Run(shutil.copytree(trained.folder, tmp_path / "runs" / name))
        metrics, config = read_json(run.metrics), read_json(run.config)
        metrics["validation"]["accuracy"] = accuracy
        config["method"]["r"] = int(10 * accuracy)
        write_json(run.metrics, metrics)
        write_json(run.config, config)
    assert run_command(["report", "runs"]) == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.texts["h1"] == ["reviews · bert · lora: 2 runs"]
    assert page.texts["a"][:2] == ["r=9", "r=1"]  # named by what differs, with their folders below
    assert {"runs/a", "runs/b"} <= set(page.texts["small"])
    assert "method.r" in page.texts["th"]
    assert len([tag for tag, found in page.tags if found.get("class") == "run"]) == 2


def test_an_overwritten_run_loses_its_report(train_tiny: TrainTiny) -> None:
    run = train_tiny("training.max_steps=1")
    write_report([run], run.report)
    before = run.report.stat().st_mtime_ns
    train_tiny("training.max_steps=1", "overwrite=true")
    assert not run.report.exists() or run.report.stat().st_mtime_ns > before


def test_a_report_is_written_without_torch(whole: Run) -> None:
    probe = (
        "import sys; from pathlib import Path; from ftclf.report.page import write_report; "
        "from ftclf.storage.run_folder import Run; "
        f"run = Run(Path({str(whole.folder)!r})); write_report([run], run.report); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_report_on_go_emotions_size_takes_less_than_two_seconds(make_run: MakeRun, task: str) -> None:
    run = make_run([f"label {i}" for i in range(28)], task=task, rows=5427)
    start = time.process_time()
    write_report([run], run.report)
    assert time.process_time() - start < 2


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--window-size=1400,900",
    "--dump-dom",
]

# Headless windows are at least 500 wide: the page stands in a frame. The frame's page is the report as it is.
ROOM = """<!doctype html><meta charset="utf-8"><iframe src="PAGE" style="border:0;width:WIDTHpx;height:800px"></iframe>
<pre></pre><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  const click = (selector) => page.querySelector(selector).click();
  const full = (head) => (head.querySelector("[title]") || { title: head.textContent }).title;
  const firsts = (table) => [...page.querySelectorAll(table + " tbody th")].map(full);
  const found = { width: page.documentElement.scrollWidth, given: firsts(".matrix") };
  page.querySelectorAll("details").forEach((part) => { part.open = true; });
  found.open = page.documentElement.scrollWidth;
  click("button[data-order=errors]");
  found.errors = firsts(".matrix");
  found.columns = [...page.querySelectorAll(".matrix thead th")].slice(1).map(full);
  const shown = [...page.querySelectorAll(".matrix tbody th span")].filter((name) => name.offsetWidth);
  found.shown = shown.map((name) => name.textContent);
  click(".matrix tbody tr td.hit");
  found.told = page.querySelector(".said output").textContent;
  click("#run1-classes thead th:nth-of-type(2) button");
  found.classes = firsts("#run1-classes table");
  found.sorted = page.querySelector("#run1-classes th[aria-sort]").getAttribute("aria-sort");
  const search = page.querySelector("#run1-classes input[type=search]");
  if (search) {
    search.value = "LABEL 1 ";
    search.dispatchEvent(new Event("input"));
    const rows = [...page.querySelectorAll("#run1-classes tbody tr")];
    found.searched = rows.filter((row) => row.offsetHeight).map((row) => row.cells[0].textContent);
    found.answer = page.querySelector("#run1-classes .search output").textContent;
  }
  document.querySelector("pre").textContent = JSON.stringify(found);
};
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("labels", [3, 28, 77])
def test_a_browser_shows_the_page_without_scrolling_sideways(
    make_run: MakeRun, tmp_path: Path, width: int, labels: int
) -> None:
    names = [f"label {index} " + "with_a_long_name" * (index % 3) for index in range(labels)]
    run = make_run(names, task="multi_label", texts=["x" * 500, "words " * 60], folder="run" * 20)
    write_report([run], run.report)
    found = _browse(run.report, width, tmp_path)
    assert found["width"] <= width
    assert found["open"] <= width
    rows = read_json(run.metrics)["test"]["per_class"]
    assert len(set(found["shown"])) == len(found["given"])  # no two rows of the matrix read the same
    if labels <= 40:
        assert found["given"] == names
    assert found["columns"] == found["errors"]
    errors = {row["label"]: row["support"] - round(row["recall"] * row["support"]) for row in rows}
    assert found["errors"] == sorted(found["given"], key=lambda name: -errors[name])
    hit = found["errors"][0]
    assert found["told"].startswith(f"{hit} rightly given: ")
    assert found["sorted"] == "descending"
    scores = {row["label"]: row["f1"] for row in rows}
    assert found["classes"] == sorted(names, key=lambda name: -scores[name])
    if labels > 10:
        words = [name for name in found["classes"] if "1" in name and "label" in name]
        assert found["searched"] == words
        assert found["answer"] == f"{len(words)} of {labels}"


def browse_frame(page: Path, width: int, folder: Path, script: str) -> dict[str, Any]:
    """Open a page in Chromium, run a script that fills `found` from `page`, and return that."""
    start, end = ROOM.index("  const click"), ROOM.index('  document.querySelector("pre")')
    return _browse(page, width, folder, f"{ROOM[:start]}const found = {{}};{script}{ROOM[end:]}")


def _browse(page: Path, width: int, folder: Path, content: str = ROOM) -> dict[str, Any]:
    """Open a page in Chromium, click through it and return what was found; an error in its console fails."""
    room = folder / "room.html"
    room.write_text(content.replace("PAGE", page.as_uri()).replace("WIDTH", str(width)), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'browser'}", room.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    (found,) = Page(done.stdout).texts["pre"]
    return json.loads(found)  # type: ignore[no-any-return]
