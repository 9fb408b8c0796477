"""How a trained model is used: by the command, from Python, and by transformers alone."""

from __future__ import annotations

from typing import Any

from ftclf.score.task import task_named


def snippets(config: dict[str, Any], whole: str) -> list[tuple[str, str]]:
    """Return titles, each with lines to type, in a folder that `ftclf predict` takes.

    `whole` is the folder in it that transformers opens, unless that needs to be merged first.
    """
    kind, task, max_length = (
        config["method"]["kind"],
        config["dataset"].get("task", "single_label"),
        config["dataset"].get("max_length", 128),
    )
    folder = "FOLDER" if kind == "lora" else whole
    every = ", top_k=None" if task_named(task).several else ""
    pipeline = f"""from transformers import pipeline
classify = pipeline("text-classification", "{folder}"{every})
print(classify(["a text", "another"], truncation=True, max_length={max_length}))"""
    python = """import ftclf
model = ftclf.load(".")
for one in model.predict(["a text", "another"]):
    print(one.labels, one.confidence, one.probabilities)"""
    merging = [("As whole weights, as long as the folder holds an adapter", "ftclf merge . output=FOLDER")]
    transformers = [("By transformers alone, whose probabilities are not calibrated", pipeline)]
    return [
        ("By the command", "ftclf predict . input=texts.csv output=predictions.csv"),
        ("From Python", python),
        *(merging if kind == "lora" else []),
        *([] if kind == "tfidf" else transformers),
    ]
