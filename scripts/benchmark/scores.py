"""Scores: after the same epochs as a peer, and the seconds until a peer's score is reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.bench import Bench, Side
from benchmark.material import LABELS, Rows, few_a_label
from benchmark.process import Done
from benchmark.record import Figure, spread
from benchmark.training import CLOCK, seconds_of

if TYPE_CHECKING:
    from ftclf.score.significance import Outcome

SEEDS = (0, 1, 2)
SCORE_ROWS, EPOCHS = 6_000, 3
VALIDATION_ROWS = 2_000
SHOTS = 8


Trained = Callable[[Bench, Rows, int], tuple[Done, "Outcome"]]  # with a seed


def by_ftclf(*words: str) -> Trained:
    """Return what trains with ftclf on the rows, fully, and scores all test rows."""

    def train(bench: Bench, rows: Rows, seed: int) -> tuple[Done, Outcome]:
        from ftclf.report.leaderboard import read_outcome
        from ftclf.storage.run_folder import Run

        run = bench.fresh("run")
        own = ("dataset=go_emotions", "method=full", f"training.epochs={EPOCHS}", f"training.seed={seed}", *words)
        return bench.run(bench.train(*own, rows=rows, folder=run)), read_outcome(Run(run))

    return train


def by_trainer(bench: Bench, rows: Rows, seed: int) -> tuple[Done, Outcome]:
    """Do it with the Trainer, at its defaults."""
    output = bench.fresh("trainer")
    words = ["--model", str(bench.weights()), "--labels", str(LABELS), "--output", str(output), "--seed", str(seed)]
    words += ["--train", rows.file("train"), "--test", rows.file("test"), "--epochs", str(EPOCHS)]
    words += ["--padding", "dynamic", "--group-by-length", "--bf16", *([] if bench.device == "cuda" else ["--cpu"])]
    return bench.run(bench.peer("trainer.py", *words)), _outcome(output / "test.npz")


def after_the_same_epochs(ours: Trained, theirs: Trained) -> Callable[[Bench], list[Figure]]:
    """Return the measurement of the points of accuracy and of macro F1 by which the first is better on test."""

    def measure(bench: Bench) -> list[Figure]:
        from ftclf.score.significance import Side as Compared
        from ftclf.score.significance import difference

        rows = bench.rows(SCORE_ROWS, 1_000, None)
        pairs = [(ours(bench, rows, seed), theirs(bench, rows, seed)) for seed in SEEDS]
        details: dict[str, dict[str, Any]] = {}
        sides: list[Compared] = []
        for name, found in zip(("ours", "peer"), zip(*pairs, strict=True), strict=True):
            outcomes = tuple(outcome for _, outcome in found)
            scores = {
                score: round(sum(one.draws.observed[score] for one in outcomes) / len(outcomes), 4)
                for score in ("accuracy", "macro_f1")
            }
            details[name] = seconds_of([done for done, _ in found]) | scores
            sides.append(Compared(name, outcomes))
        differences = difference(*sides, score="accuracy").scores
        figures = []
        for score in ("accuracy", "macro_f1"):
            value, low, high = (100 * number for number in differences[score])
            figures.append(Figure(value, low, high, len(SEEDS), details))
        return figures

    return measure


def _outcome(path: Path) -> Outcome:
    """Return what the Trainer did on the test rows, as ftclf's own statistics read it."""
    import numpy as np

    from ftclf.score.metrics import one_hot, softmax
    from ftclf.score.significance import Outcome
    from ftclf.score.task import SINGLE_LABEL

    found = np.load(path)
    logits, targets = found["logits"], one_hot(found["labels"], LABELS)
    losses = SINGLE_LABEL.row_losses(softmax(logits), targets)
    return Outcome(one_hot(logits.argmax(axis=1), LABELS), targets, losses)


def tfidf(bench: Bench) -> list[Figure]:
    """Measure TF-IDF with logistic regression, and ftclf until it has the same accuracy on validation."""
    rows = bench.rows(None, VALIDATION_ROWS, 1_000)
    return _to_the_score(bench, rows, bench.peer("tfidf.py", rows.file("train"), rows.file("validation")), *ONE_EPOCH)


def fasttext(bench: Bench) -> list[Figure]:
    """Measure fastText, and ftclf until it has the same accuracy on validation."""
    rows, python = bench.rows(None, VALIDATION_ROWS, 1_000), bench.peer_python()
    side = bench.peer("fasttext_labels.py", rows.file("train"), rows.file("validation"), python=python)
    return _to_the_score(bench, rows, side, *ONE_EPOCH)


def setfit(bench: Bench) -> list[Figure]:
    """Measure SetFit on a few rows a label, and ftclf on the same rows until it has the same accuracy."""
    rows, python = few_a_label(bench.fresh("rows"), SHOTS, VALIDATION_ROWS), bench.peer_python()
    words = (str(bench.weights()), rows.file("train"), rows.file("validation"), str(bench.fresh("setfit")))
    side = bench.peer("few_shot.py", *words, python=python)
    return _to_the_score(bench, rows, side, "training.epochs=40", "training.eval_steps=28")


ONE_EPOCH = ("training.epochs=1", "training.eval_steps=100")


def _to_the_score(bench: Bench, rows: Rows, peer: Side, *words: str) -> list[Figure]:
    """Measure the peer's whole run over the seconds from ftclf's start to its first evaluation as good as the peer."""
    ratios, found = [], []
    for _ in range(min(2, bench.rounds)):
        theirs = bench.run(peer)
        accuracy = theirs.answer["accuracy"]
        side = bench.train("dataset=go_emotions", "method=full", *words, rows=rows)
        ours = bench.run(side, clock={**CLOCK, "BENCH_UNTIL": str(accuracy)})
        found.append((ours.training.reached(accuracy), theirs.seconds, accuracy))
        ratios.append(theirs.seconds / found[-1][0])
    seconds, peer_seconds, accuracy = found[-1]
    details = {"ours": {"seconds": round(seconds, 1)}, "peer": {"seconds": round(peer_seconds, 1)}}
    return [spread(ratios, accuracy=round(accuracy, 4), **details)]
