"""The short model card that stands beside a checkpoint."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any

import numpy as np

from ftclf.config import HEADLINES, TrainConfig
from ftclf.data import Data, Split
from ftclf.report.usage import snippets
from ftclf.score.baselines import against_strongest
from ftclf.score.evaluation import with_interval
from ftclf.score.task import task_of
from ftclf.system.console import printable
from ftclf.system.text import common_labels, counted, data_name

if TYPE_CHECKING:
    from ftclf.score.evaluation import Evaluation


MOST_LABELS = 100  # rows of the tables; the report and the csv of a run have more
EXAMPLES = 2  # a label
LONGEST = 160  # characters of an example


def examples(evaluation: Evaluation, split: Split, label_names: list[str]) -> dict[str, list[str]]:
    """Return the most confident right texts per label; of many labels only the most common ones."""
    rows_of = (evaluation.chosen & evaluation.targets).by_label()
    texts = {}
    for label in common_labels(evaluation.targets.per_label.tolist(), MOST_LABELS):
        rows, several = rows_of[label], task_of(split.labels).several
        sure = evaluation.probabilities.column(label) if several else evaluation.sure  # of what was given
        surest = rows[np.argsort(-sure[rows], kind="stable")[:EXAMPLES]]
        texts[label_names[label]] = [_shortened(split.texts[row]) for row in surest]
    return texts


def model_card(
    config: TrainConfig,
    data: Data,
    metrics: dict[str, Any],
    manifest: dict[str, Any],
    shown: dict[str, list[str]],
) -> str:
    """Return the card as Markdown: what it is, how well it does, how it was made, how to use it."""
    test, method = metrics["test"], (_of_network if config.method.needs_network else _of_tfidf)(config, manifest)
    names = HEADLINES[data.task]
    rows = "\n".join(
        f"| {_cell(row['label'])} | {row['precision']:.3f} | {row['recall']:.3f} | {_f1(row)} | {row['support']} |"
        for row in test["per_class"]
        if row["label"] in shown
    )
    texts = "\n".join(
        f"| {_cell(name)} | {' · '.join(_cell(text) for text in found) or '*none was found*'} |"
        for name, found in shown.items()
    )
    of_data = _cell(data_name(data.name, config.dataset.train))
    training = [f"Seed {manifest['seed']}", *method.training, manifest["date"]]
    notes = "\n".join(f"* {_cell(note)}" for note in data.notes) or "* none"
    return f"""# {method.title} {of_data}{method.kind}

A text classifier with {counted(len(data.label_names), "label")}, {method.made}

## Scores on test ({counted(test["rows"], "row")}, 95 % bootstrap intervals in brackets)

| {" | ".join(name.replace("_", " ") for name in names)} |
|{"---|" * len(names)}
| {" | ".join(with_interval(test, name) for name in names)} |

{_beside(metrics, data.task)}

{method.chosen} on validation ({counted(metrics["validation"]["rows"], "row")});
test chose nothing. Probabilities are scaled on validation ({test["calibration"]["method"]}): expected calibration error
{test["calibration"]["ece"]:.3f} on test, {test["calibration"]["ece_before"]:.3f} before.
{_listed(len(shown), len(data.label_names))}
| label | precision | recall | F1 | support |
|---|---|---|---|---|
{rows}

## Examples

Validation texts that it labels rightly and most surely:

| label | texts |
|---|---|
{texts}

## Data

{counted(manifest["rows"]["train"], "training row")}.
Terms of the data: {_cell(config.dataset.terms or "the user's own")}.
{method.reading}

{notes}

## How it was made

{", ".join(training)}.
All settings are in `config.json` of the run, versions and machine in its `manifest.json`.

## How to use it

In this folder:

{_usage(config)}"""


@dataclass(frozen=True)
class _OfMethod:
    """What the card says of a model that depends on its method, as Markdown."""

    title: str  # what stands before the name of the data
    kind: str  # and after it
    made: str
    chosen: str
    reading: str
    training: list[str]


def _of_network(config: TrainConfig, manifest: dict[str, Any]) -> _OfMethod:
    parameters, compute = manifest["parameters"], manifest["compute"]
    chosen_by = (config.training.metric or "log_loss").replace("_", " ")
    return _OfMethod(
        title=f"{_cell(config.model.alias)} on",
        kind=f", {config.method.kind}",
        made=f"fine-tuned by ftclf {manifest['ftclf']} from\n"
        f"{_cell(config.model.name)} ({_cell(manifest['base']['origin'])}).\n"
        f"{parameters['trainable']:,} of {parameters['total']:,} weights were trained.",
        chosen=f"The checkpoint was chosen by {chosen_by}",
        reading=f"Terms of the base model: {_cell(config.model.terms or 'see its source')}.\n"
        f"Texts are cut to {config.dataset.max_length} tokens.",
        training=[counted(manifest["steps"], "step"), f"{compute['precision']} on {compute['device']}"],
    )


def _of_tfidf(config: TrainConfig, manifest: dict[str, Any]) -> _OfMethod:
    return _OfMethod(
        title="TF-IDF on",
        kind="",
        made=f"trained by ftclf {manifest['ftclf']}: a logistic regression\n"
        "per label on TF-IDF of words, word pairs and character n-grams, without a network.\n"
        f"{manifest['parameters']['total']:,} weights were trained.",
        chosen="The scaling of probabilities, and thresholds if any, were chosen",
        reading="There is no base model. Texts are read whole.",
        training=[manifest["engine"]],
    )


def _listed(shown: int, labels: int) -> str:
    """Return a line that says which labels the tables show, if not all."""
    return f"\nThe {shown} labels with the most validation rows, of {labels:,}:\n" if shown < labels else ""


def _usage(config: TrainConfig) -> str:
    """Return lines to type, each part under its title."""
    parts = [f"{title}:\n\n{indent(lines, '    ')}\n" for title, lines in snippets(asdict(config), whole=".")]
    return "\n".join(parts)


def _f1(row: dict[str, Any]) -> str:
    low, high = row["intervals"]["f1"]
    return f"{row['f1']:.3f} [{low:.3f}, {high:.3f}]"


def _beside(metrics: dict[str, Any], task: str) -> str:
    if not metrics["baselines"]:
        return "No baseline was asked for."
    return f"Against a baseline, {HEADLINES[task][0].replace('_', ' ')}: {against_strongest(metrics, task)}."


def _shortened(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= LONGEST else folded[:LONGEST].rstrip() + "…"


def _cell(text: str) -> str:
    """Return a text as it is: no character of it means anything to Markdown."""
    return re.sub(
        r"([\\`*_{}\[\]()#|~!])", r"\\\1", " ".join(printable(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    )
