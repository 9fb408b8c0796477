"""Training: speed beside each peer, share of the machine's limit, memory, time to the first step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.bench import FEW_ROWS, Bench, Side
from benchmark.material import LABELS, dbpedia, many_short
from benchmark.process import Done, FailedError
from benchmark.record import Figure, adjacent_ratios, spread
from ftclf.storage.run_folder import read_json

CLOCK: dict[str, str] = {}  # the clock without options
TRAIN_ONLY = {"BENCH_TRAIN_ONLY": "1"}
# On a GPU: steps of 32 examples, and how many of them are timed. Before, it compiles kernels and records every shape.
GPU_STEPS, GPU_TIMED = 4000, 3000
POOL = 50  # batches that the Trainer sorts by length together
QUICK_STEPS = 40
MEMORY_STEPS = 100
STARTS, QUICK_STARTS = 5, 2
RANKS, SWEEP_EPOCHS = ("4", "8", "16", "32"), 2
DBPEDIA_ROWS, FEW_DBPEDIA_ROWS = 560_000, 2_000
MANY, FEW_MANY = 10_000_000, 43_410
FLOP_A_WEIGHT = 6  # and token, in full fine-tuning: two forward, four backward


Model = Callable[[Bench], Path]


def minilm(bench: Bench) -> Path:
    return bench.weights()


def distilbert(bench: Bench) -> Path:
    return bench.distilbert_size()


def trainer(
    *options: str, warm_up: int = 10, steps: int | None = None, model: Model = minilm
) -> Callable[[Bench], Side]:
    """Return what makes a side of the Trainer's usual script; without `steps` it passes once over the rows."""

    def side(bench: Bench) -> Side:
        words = ["--model", str(model(bench)), "--train", bench.rows().file("train"), "--labels", str(LABELS)]
        words += ["--output", str(bench.fresh("trainer")), "--epochs", "1", *options]
        if steps is not None:
            words += ["--max-steps", str(min(steps, QUICK_STEPS) if bench.quick else bench.times * steps)]
        words += [] if bench.device == "cuda" else ["--cpu"]
        return bench.peer("trainer.py", *words, warm_up=warm_up)

    return side


def ours(*words: str, model: Model | None = None) -> Callable[[Bench], Side]:
    """Return what makes a side of ftclf: one epoch of the same rows, or so many steps."""

    def side(bench: Bench) -> Side:
        few = [f"training.max_steps={QUICK_STEPS}"] if bench.quick else []
        named = [f"model.name={model(bench)}"] if model else []
        if bench.device == "cuda":
            return many_steps(bench, *named, *words)
        return bench.train("dataset=go_emotions", "training.epochs=1", *few, *named, *words, rows=bench.rows())

    return side


def many_steps(bench: Bench, *words: str, batch_size: int = 32) -> Side:
    """Return a side of ftclf for a GPU, which evaluates when all is timed."""
    steps = GPU_STEPS * 32 // batch_size
    few = [f"training.{name}={steps}" for name in ("max_steps", "eval_steps")] + [f"training.batch_size={batch_size}"]
    side = bench.train("dataset=go_emotions", "training.precision=bf16", *few, *words, rows=bench.rows())
    return replace(side, warm_up=steps - GPU_TIMED * 32 // batch_size)


FULL, LORA = ours("method=full"), ours("method=lora")
COMPILED_FULL = ours("method=full", "training.compile=true")
UNRECORDED = ours("method=full", "training.graphs=false")
FULL_DISTILBERT = ours("method=full", model=distilbert)
COMPILED_LORA = ours("method=lora", "training.compile=true")
# Its speed does not vary with the texts: a few steps tell it.
PADDED = trainer(warm_up=3, steps=20)
DYNAMIC = trainer("--padding", "dynamic", steps=60)
PADDED_DISTILBERT = trainer(warm_up=3, steps=20, model=distilbert)
# It sorts pools of 50 batches by length, the longest batch first. The second pool alone is timed: whole, not cut short.
GROUPED = trainer("--padding", "dynamic", "--group-by-length", warm_up=POOL)
GROUPED_BF16 = trainer("--padding", "dynamic", "--group-by-length", "--bf16", warm_up=POOL)


def faster(first: Callable[[Bench], Side], second: Callable[[Bench], Side]) -> Callable[[Bench], list[Figure]]:
    """Return the measurement of examples per second of the first side over those of the second."""

    def measure(bench: Bench) -> list[Figure]:
        ours, peer = bench.in_turn(lambda: first(bench), lambda: second(bench), clock=clock_of(bench))
        ratios = adjacent_ratios(*([one.speed.examples for one in side] for side in (ours, peer)))
        return [spread(ratios, ours=described(ours), peer=described(peer))]

    return measure


def clock_of(bench: Bench) -> dict[str, str]:
    """Return the clock's options for a training that is timed: on a GPU the process ends with it."""
    return TRAIN_ONLY if bench.device == "cuda" else CLOCK


def described(done: list[Done]) -> dict[str, Any]:
    """Return the medians of what one side did."""
    speeds = [one.speed for one in done]
    return {
        "examples_per_second": round(median(one.examples for one in speeds), 1),
        "tokens_per_second": round(median(one.tokens for one in speeds)),
        "padding": round(median(one.padding for one in speeds), 3),
        "peak_memory_mb": round(median(one.peak_mb for one in done)),
        "seconds_to_first_step": round(median(one.training.began for one in done), 1),
    }


def share_of_limit(model: Model, *, batch_size: int = 32) -> Callable[[Bench], list[Figure]]:
    """Return the measurement of the real tokens' arithmetic in full fine-tuning, in % of what the machine can do.

    That is the rate of the model's own matrix products, measured right after each run in its precision.
    """

    def measure(bench: Bench) -> list[Figure]:
        shares, rates = [], []
        for _ in range(bench.rounds):
            run = bench.fresh("run")
            words = [f"model.name={model(bench)}", "method=full"]
            if bench.device == "cuda":
                side, precision = many_steps(bench, *words, batch_size=batch_size), "bf16"
                tokens = bench.run(side, clock=TRAIN_ONLY).speed.tokens
            else:
                words += ["dataset=go_emotions", "training.epochs=1"]
                tokens = bench.run(bench.train(*words, rows=bench.rows(), folder=run), clock=CLOCK).speed.tokens
                precision = read_json(run / "manifest.json")["compute"]["precision"]
            rates.append(bench.run(hardware(bench, model(bench), batch_size)).answer)
            shares.append(100 * tokens * FLOP_A_WEIGHT * rates[-1]["weights"] / rates[-1][precision]["mix"])
        return [spread(shares, precision=precision, **limits(rates, precision))]

    return measure


def hardware(bench: Bench, model: Path, batch_size: int) -> Side:
    return Side((sys.executable, "-m", "benchmark.hardware", str(model), bench.device, str(batch_size)))


def limits(rates: list[dict[str, Any]], precision: str) -> dict[str, Any]:
    """Return the medians of the measured rates, and the tokens per second at which nothing else took time."""
    weights = rates[0]["weights"]
    mix = median(rate[precision]["mix"] for rate in rates)
    return {
        "weights_every_token_meets": weights,
        "limit_tokens_per_second": round(mix / (FLOP_A_WEIGHT * weights)),
        "gflop_per_second": {
            kind: {shape: round(median(rate[kind][shape] for rate in rates) / 1e9) for shape in rates[0][kind]}
            for kind in ("fp32", "bf16")
        },
    }


def memory(method: str) -> Callable[[Bench], list[Figure]]:
    """Return the measurement of a whole run's peak memory on all rows, evaluation included."""

    def measure(bench: Bench) -> list[Figure]:
        words = ("dataset=go_emotions", f"method={method}", f"training.max_steps={MEMORY_STEPS}")
        done = [bench.run(bench.train(*words, rows=bench.rows(None, None, None))) for _ in range(min(2, bench.rounds))]
        return [spread([one.peak_mb / 1000 for one in done])]

    return measure


def first_step(bench: Bench) -> list[Figure]:
    """Measure the seconds from the command to the beginning of the first step, everything warm, on all rows."""
    rows = bench.rows(None, None, None)
    seconds = [
        bench.run(bench.train("dataset=go_emotions", "method=full", rows=rows), clock={"BENCH_FIRST_STEP": "1"})
        for _ in range(1 + (QUICK_STARTS if bench.quick else STARTS))
    ]
    return [spread([done.training.began for done in seconds[1:]])]  # the first fills the caches


def tokenising(bench: Bench) -> list[Figure]:
    """Measure what 560,000 rows add to the start of a run: seconds, memory, and seconds of the second run."""
    few, many = (dbpedia(bench.fresh("dbpedia"), count) for count in (FEW_DBPEDIA_ROWS, DBPEDIA_ROWS))

    def start(rows: Any) -> Done:
        return bench.run(bench.train("dataset=dbpedia_14", "method=full", rows=rows), clock={"BENCH_FIRST_STEP": "1"})

    start(few)
    small, first, second = start(few), start(many), start(many)
    reading = {"seconds_of_second_run": round(second.training.began, 1)}
    return [
        spread([first.training.began - small.training.began], seconds_of_first_run=round(first.training.began, 1)),
        spread([(first.peak_mb - small.peak_mb) / 1000], peak_memory_mb=round(first.peak_mb)),
        spread([second.training.began - small.training.began], **reading),
    ]


def ten_million(bench: Bench) -> list[Figure]:
    """Measure the memory that 10,000,000 rows add to a whole run: one that reads and tokenises them, and the next."""

    def peak(rows: Any) -> float:
        words = ("dataset=go_emotions", "method=full", f"training.max_steps={MEMORY_STEPS}")
        return bench.run(bench.train(*words, rows=rows)).peak_mb / 1000

    few, many = (many_short(bench.fresh("rows"), count, FEW_ROWS) for count in (FEW_MANY, MANY))
    before, first, second = peak(few), peak(many), peak(many)
    return [spread([first - before], peak_memory_gb=round(first, 2)), spread([second - before])]


def seconds_of(done: list[Done]) -> dict[str, Any]:
    return {
        "seconds": round(median(one.seconds for one in done), 2),
        "peak_memory_mb": round(median(one.peak_mb for one in done)),
    }


def dbpedia_epoch(bench: Bench) -> list[Figure]:
    """Measure the seconds of one epoch of 560,000 rows, from the first step's begin to the last one's end."""
    rows = dbpedia(bench.fresh("dbpedia"), DBPEDIA_ROWS)
    words = ("dataset=dbpedia_14", "method=full", "training.epochs=1", "dataset.validation_size=0.002")
    training = bench.run(bench.train(*words, rows=rows), clock=CLOCK).training
    if sum(one[0] for one in training.batches) < 0.99 * DBPEDIA_ROWS:
        raise FailedError("the epoch is not whole")
    return [spread([training.ends[-1] - training.began])]
