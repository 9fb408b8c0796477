"""The short model card that stands beside a checkpoint."""

from __future__ import annotations

from typing import Any

from ftclf.config import HEADLINES, TrainConfig, choosing_metric
from ftclf.data import Data
from ftclf.evaluation import with_interval


def model_card(config: TrainConfig, data: Data, metrics: dict[str, Any], manifest: dict[str, Any]) -> str:
    """Return the card as Markdown: what it is, how well it does, how it was made, how to use it."""
    test, parameters, compute = metrics["test"], manifest["parameters"], manifest["compute"]
    names = HEADLINES[data.task]
    rows = "\n".join(
        f"| {_cell(row['label'])} | {row['precision']:.3f} | {row['recall']:.3f} | {_f1(row)} | {row['support']} |"
        for row in test["per_class"]
    )
    notes = "\n".join(f"* {note}" for note in data.notes) or "* none"
    return f"""# {config.model.alias} on {data.name}, {config.method.kind}

A text classifier with {len(data.label_names)} labels, fine-tuned by ftclf {manifest["ftclf"]} from
{config.model.name} ({manifest["base"]["origin"]}).
{parameters["trainable"]:,} of {parameters["total"]:,} weights were trained.

    ftclf predict checkpoint=<this folder> input=texts.csv output=predictions.csv

## Scores on test ({test["rows"]} rows, 95 % bootstrap intervals in brackets)

| {" | ".join(name.replace("_", " ") for name in names)} |
|{"---|" * len(names)}
| {" | ".join(with_interval(test, name) for name in names)} |

The checkpoint was chosen by {choosing_metric(config)} on validation ({metrics["validation"]["rows"]} rows);
test chose nothing.

| label | precision | recall | F1 | support |
|---|---|---|---|---|
{rows}

## Data

{manifest["rows"]["train"]} training rows. Terms of the data: {config.dataset.terms or "the user's own"}.
Terms of the base model: {config.model.terms or "see its source"}. Texts are cut to {config.dataset.max_length} tokens.

{notes}

## How it was made

Seed {manifest["seed"]}, {manifest["steps"]} steps, {compute["precision"]} on {compute["device"]}, {manifest["date"]}.
All settings are in `config.json` of the run, versions and machine in its `manifest.json`.
"""


def _f1(row: dict[str, Any]) -> str:
    low, high = row["intervals"]["f1"]
    return f"{row['f1']:.3f} [{low:.3f}, {high:.3f}]"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
