"""Commands that train nothing: predictions, and how fast the short commands answer."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from benchmark.bench import Bench
from benchmark.material import short_texts
from benchmark.process import Done
from benchmark.record import Figure, adjacent_ratios, spread
from benchmark.training import seconds_of

TEXTS, QUICK_TEXTS, FEW_TEXTS = 10_000, 2_000, 200
ANSWERS = 7


def prediction(bench: Bench) -> list[Figure]:
    """Measure texts per second, and the whole command, of `ftclf predict` and of a pipeline of transformers.

    The same command on a few texts is taken off the time, on both sides: what is left is not start-up.
    """
    run = bench.fresh("run")
    bench.run(bench.train("dataset=go_emotions", "method=full", "training.max_steps=20", rows=bench.rows(), folder=run))
    texts = QUICK_TEXTS if bench.quick else TEXTS
    many, few = (short_texts(bench.folder, count) for count in (texts, FEW_TEXTS))
    ours: list[tuple[Done, Done]] = []
    peer: list[tuple[Done, Done]] = []
    for number in range(bench.rounds):
        outputs = [bench.folder / f"{side}-{number}.csv" for side in ("ours", "peer")]
        ours.append((_predict(bench, run, few), _predict(bench, run, many, outputs[0])))
        peer.append((_pipeline(bench, run, few), _pipeline(bench, run, many, outputs[1])))
    whole = [[long.seconds for _, long in side] for side in (ours, peer)]
    alone = [[long.seconds - short.seconds for short, long in side] for side in (ours, peer)]
    details = {
        name: {"texts_per_second": round((texts - FEW_TEXTS) / sorted(seconds)[len(seconds) // 2], 1)}
        for name, seconds in zip(("ours", "peer"), alone, strict=True)
    }
    return [
        spread(adjacent_ratios(alone[1], alone[0]), same_labels=_agreement(*outputs), **details),
        spread(
            adjacent_ratios(whole[1], whole[0]),
            ours=seconds_of([long for _, long in ours]),
            peer=seconds_of([long for _, long in peer]),
        ),
    ]


def _predict(bench: Bench, run: Path, texts: Path, output: Path | None = None) -> Done:
    output = output or bench.fresh("predictions").with_suffix(".csv")
    words = (f"checkpoint={run}", f"input={texts}", f"output={output}")
    return bench.run(bench.ftclf("predict", *words))


def _pipeline(bench: Bench, run: Path, texts: Path, output: Path | None = None) -> Done:
    output = output or bench.fresh("predictions").with_suffix(".csv")
    return bench.run(bench.peer("pipeline.py", str(run / "checkpoint"), str(texts), str(output), bench.device))


def _agreement(*outputs: Path) -> float:
    """Return the share of texts to which both sides give one label: that they do the same work."""
    labels: list[list[str]] = []
    for output in outputs:
        with output.open(encoding="utf-8", newline="") as file:
            labels.append([row["label"] for row in csv.DictReader(file)])
    ours, theirs = labels
    return round(sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(ours), 4)


def answer(*words: str, code: int = 0) -> Callable[[Bench], list[Figure]]:
    """Return the measurement of a short command's seconds."""

    def measure(bench: Bench) -> list[Figure]:
        seconds = [bench.run(bench.ftclf(*words), expect=code).seconds for _ in range(ANSWERS + 1)]
        return [spread(seconds[1:])]

    return measure
