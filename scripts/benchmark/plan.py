"""Every row of the benchmark: what it is called, what it is measured by, and its goal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.bench import Bench
from benchmark.commands import answer, prediction
from benchmark.record import AT_LEAST, AT_MOST, NO_WORSE, Figure, Goal, Spec
from benchmark.scores import after_the_same_epochs, by_ftclf, by_trainer, fasttext, setfit, tfidf
from benchmark.training import (
    COMPILED_FULL,
    COMPILED_LORA,
    DYNAMIC,
    FULL,
    FULL_DISTILBERT,
    GROUPED,
    GROUPED_BF16,
    LORA,
    PADDED,
    PADDED_DISTILBERT,
    UNRECORDED,
    dbpedia_epoch,
    distilbert,
    faster,
    first_step,
    memory,
    minilm,
    share_of_limit,
    ten_million,
    tokenising,
)


@dataclass(frozen=True)
class Task:
    """Rows that are measured together. `short`: the short form has them as well."""

    name: str
    measure: Callable[[Bench], list[Figure]]
    specs: tuple[Spec, ...]
    short: bool = False
    device: str = "cpu"


def task(name: str, measure: Callable[[Bench], list[Figure]], *specs: Spec, short: bool = False) -> Task:
    return Task(name, measure, specs, short)


def times(name: str, about: str, peer: str, goal: float | None = None) -> Spec:
    return Spec(name, about, "times", peer, None if goal is None else Goal(AT_LEAST, goal))


def on_gpu(name: str, measure: Callable[[Bench], list[Figure]], *specs: Spec) -> Task:
    return Task(name, measure, specs, device="cuda")


GPU_SHARE = "full fine-tuning at DistilBERT's size, of the measured bf16 rate"
FULL_NAME = "full fine-tuning, examples per second"
PADDED_NAME = "Trainer, padded to 128"
TASKS = (
    task("padded", faster(FULL, PADDED), times("padded", FULL_NAME, PADDED_NAME, 20)),
    task("dynamic", faster(FULL, DYNAMIC), times("dynamic", FULL_NAME, "Trainer, dynamic padding", 5), short=True),
    task("grouped", faster(FULL, GROUPED), times("grouped", FULL_NAME, "Trainer, grouped by length", 2.5)),
    task(
        "grouped_bf16",
        faster(FULL, GROUPED_BF16),
        times("grouped_bf16", FULL_NAME, "Trainer, grouped by length, bf16", 1.4),
        short=True,
    ),
    task("lora", faster(LORA, FULL), times("lora", "LoRA, examples per second", "ftclf, full", 1.3), short=True),
    task(
        "compiled_full",
        faster(FULL, COMPILED_FULL),
        times("compiled_full", FULL_NAME, "ftclf, training.compile=true"),
    ),
    task(
        "compiled_lora",
        faster(LORA, COMPILED_LORA),
        times("compiled_lora", "LoRA, examples per second", "ftclf, training.compile=true"),
    ),
    task(
        "share",
        share_of_limit(minilm),
        Spec("share", "full fine-tuning, of the measured matrix-product rate", "%", None, Goal(AT_LEAST, 50)),
    ),
    task(
        "prediction",
        prediction,
        times("prediction", "prediction, 10,000 short texts", "transformers pipeline, batch 32", 4),
        times("prediction_command", "the same, whole command", "transformers pipeline, batch 32"),
        short=True,
    ),
    task(
        "memory_full",
        memory("full"),
        Spec("memory_full", "peak memory, full", "GB", None, Goal(AT_MOST, 1.5)),
    ),
    task("memory_lora", memory("lora"), Spec("memory_lora", "peak memory, LoRA", "GB", None, Goal(AT_MOST, 1.0))),
    task(
        "first_step",
        first_step,
        Spec("first_step", "`ftclf train` to its first step, warm", "s", None, Goal(AT_MOST, 8)),
        short=True,
    ),
    task("help", answer("--help"), Spec("help", "`ftclf --help`", "s", None, Goal(AT_MOST, 0.5)), short=True),
    task("ls", answer("ls"), Spec("ls", "`ftclf ls`", "s", None, Goal(AT_MOST, 0.7)), short=True),
    task(
        "config_error",
        answer("train", "method.rang=8", code=2),
        Spec("config_error", "a config error", "s", None, Goal(AT_MOST, 1.5)),
        short=True,
    ),
    task(
        "tokenising",
        tokenising,
        Spec("tokenising", "reading and tokenising 560,000 rows", "s", None, Goal(AT_MOST, 90)),
        Spec("tokenising_memory", "the same, memory added", "GB", None, Goal(AT_MOST, 1.0)),
        Spec("second_start", "what these rows add to the next run's start", "s", None, Goal(AT_MOST, 2)),
    ),
    task(
        "ten_million",
        ten_million,
        Spec("ten_million", "memory that 10,000,000 rows add to a run that reads them first", "GB"),
        Spec("ten_million_again", "the same, to the next run", "GB"),
    ),
    task(
        "score",
        after_the_same_epochs(by_ftclf(), by_trainer),
        Spec(
            "score",
            "accuracy on test after 3 epochs of 6,000 rows, 3 seeds",
            "points",
            "Trainer, grouped by length, bf16",
            Goal(NO_WORSE, 0),
        ),
        Spec("score_macro_f1", "the same, macro F1", "points", "Trainer, grouped by length, bf16", Goal(NO_WORSE, 0)),
    ),
    task(
        "frozen",
        after_the_same_epochs(by_ftclf("method.freeze_embeddings=true"), by_ftclf()),
        Spec(
            "frozen", "accuracy on test after the same epochs, method.freeze_embeddings=true", "points", "ftclf, full"
        ),
        Spec("frozen_macro_f1", "the same, macro F1", "points", "ftclf, full"),
    ),
    task("tfidf", tfidf, times("tfidf", "seconds to the peer's accuracy on validation", "TF-IDF, logistic regression")),
    task("fasttext", fasttext, times("fasttext", "seconds to the peer's accuracy on validation", "fastText")),
    task("setfit", setfit, times("setfit", "the same, 8 rows a label to train on", "SetFit")),
    on_gpu("gpu_padded", faster(FULL, PADDED), times("gpu_padded", FULL_NAME, PADDED_NAME, 5)),
    on_gpu(
        "gpu_padded_distilbert",
        faster(FULL_DISTILBERT, PADDED_DISTILBERT),
        times("gpu_padded_distilbert", f"{FULL_NAME}, DistilBERT's size", PADDED_NAME, 5),
    ),
    on_gpu("gpu_dynamic", faster(FULL, DYNAMIC), times("gpu_dynamic", FULL_NAME, "Trainer, dynamic padding")),
    on_gpu(
        "gpu_grouped_bf16",
        faster(FULL, GROUPED_BF16),
        times("gpu_grouped_bf16", FULL_NAME, "Trainer, grouped by length, bf16"),
    ),
    on_gpu("gpu_graphs", faster(FULL, UNRECORDED), times("gpu_graphs", FULL_NAME, "ftclf, training.graphs=false")),
    on_gpu("gpu_lora", faster(LORA, FULL), times("gpu_lora", "LoRA, examples per second", "ftclf, full")),
    on_gpu(
        "gpu_compiled",
        faster(COMPILED_FULL, FULL),
        times("gpu_compiled", f"{FULL_NAME}, training.compile=true", "ftclf, full"),
    ),
    on_gpu(
        "gpu_share_32",
        share_of_limit(distilbert),
        Spec("gpu_share_32", f"{GPU_SHARE}, 32 examples a batch", "%", None, Goal(AT_LEAST, 40)),
    ),
    on_gpu(
        "gpu_share",
        share_of_limit(distilbert, batch_size=256),
        Spec("gpu_share", f"{GPU_SHARE}, 256 examples a batch", "%", None, Goal(AT_LEAST, 40)),
    ),
    on_gpu(
        "gpu_dbpedia",
        dbpedia_epoch,
        Spec("gpu_dbpedia", "one epoch of 560,000 rows", "s", None, Goal(AT_MOST, 60)),
    ),
)
ORDER = [spec.name for one in TASKS for spec in one.specs]
