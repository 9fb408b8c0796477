"""The facts of a run that matter most, chosen by rules, in a few plain sentences: the top of its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ftclf.config import HEADLINES
from ftclf.report.material import Material
from ftclf.score.wording import score_name
from ftclf.system.text import counted, cut, number, percent, shown

FACTS = 5  # at the top of a report, those of its first sentence among them
MANY_CUT = 0.2  # of the texts
FEW_STEPS, ENOUGH_STEPS = 100, 300  # for a head that starts at random
FEW_ROWS = 20  # training rows of a label
FEW_TEST_ROWS = 5  # of a label: its F1 says nothing
NO_WEAKNESS = 0.995  # F1
LISTED = 3  # labels
LIMITS = 2  # sentences
PRECISIONS = (0.99, 0.95, 0.9, 0.8)  # what a reader may want of the answered rows
WIDE_INTERVAL = 0.06
BETTER = 0.99  # of the lowest validation loss before: it still falls


@dataclass(frozen=True)
class Fact:
    """A fact under a heading of a few words. Names of labels in it are marked up and escaped."""

    heading: str
    text: Markup


def facts(material: Material) -> list[Fact]:
    """Return what a reader should know beside the first sentence, the most useful first."""
    in_sentence = 2 if material.metrics.get("baselines") else 1
    built = (build(material) for build in RULES)
    return [fact for fact in built if fact is not None][: FACTS - in_sentence]


# ---- labels


def _weakest(material: Material) -> Fact | None:
    """Return the labels with the lowest F1, and the most frequent confusion."""
    scored = [row for row in material.test["per_class"] if row["support"] >= FEW_TEST_ROWS]
    if len(scored) < 2 or min(row["f1"] for row in scored) > NO_WEAKNESS:
        return None
    weakest = sorted(scored, key=lambda row: (row["f1"], -row["support"]))[: min(LISTED, max(1, len(scored) // 2))]
    never = sum(row["f1"] == 0 for row in scored)
    start = f"{never} of {counted(len(scored), 'label')} are never predicted correctly, as " if never > LISTED else ""
    parts = [
        Markup("{} (F1 {}, {})").format(_name(row["label"]), number(row["f1"], 2), counted(row["support"], "test row"))
        for row in weakest
    ]
    text = Markup.escape(start) + Markup(", ").join(parts) + "."
    for pair in material.test["most_confused"][:1]:
        text += Markup(" Most frequent confusion: {} predicted as {}, {} ({} of {}).").format(
            _name(pair["true"]),
            _name(pair["predicted"]),
            counted(pair["count"], "row"),
            percent(pair["share_of_true"]),
            _name(pair["true"]),
        )
    return Fact("Weakest labels" if len(weakest) > 1 else "Weakest label", text)


def _name(label: str) -> Markup:
    return Markup("<bdi>{}</bdi>").format(shown(cut(label)))


# ---- confidence


def _confidence(material: Material) -> Fact | None:
    """Return how many rows can be answered at a precision, and how far confidence is from the share that is right."""
    selective, calibration = material.test.get("selective"), material.test.get("calibration")
    parts = [_answered(selective, several=material.several)] if selective else []
    if calibration:
        ece = calibration["ece"]
        points = number(100 * ece, 1)
        parts.append(
            f"On average, confidence and the share that is right differ by {points} points (ECE {number(ece)})."
        )
    return Fact("Confidence", Markup.escape(" ".join(filter(None, parts)))) if any(parts) else None


def _answered(selective: dict[str, Any], *, several: bool) -> str:
    """Say which share of the rows is answered: by the rule of the run, or by a precision that the rows reach."""
    right = "exactly right" if several else "right"
    abstain = selective.get("abstain")
    if abstain:
        return (
            f"Without an answer below a confidence of {number(abstain['below'], 2)}, {percent(abstain['coverage'])} of "
            f"the test rows are answered and {percent(abstain['precision'])} of these are {right}."
        )
    curve = selective["curve"]
    whole = 1 - max(curve, key=lambda row: row["coverage"])["risk"]
    for wanted in PRECISIONS:
        reached = [row["coverage"] for row in curve if 1 - row["risk"] >= wanted]
        if whole < wanted and reached and max(reached) >= 0.1:
            return (
                f"The {percent(max(reached))} of the test rows with the highest confidence are {percent(wanted)} "
                f"{right}; all rows: {percent(whole)}."
            )
    return ""


# ---- what limits the score


def _limits(material: Material) -> Fact | None:
    sentences = [limit for rule in LIMIT_RULES for limit in rule(material)][:LIMITS]
    return Fact("What limits the score", Markup(" ").join(map(Markup.escape, sentences))) if sentences else None


def _texts_cut(material: Material) -> Iterator[str]:
    cut_texts, rows = material.manifest.get("texts_at_max_length"), material.manifest["rows"].get("train", 0)
    length = material.config["dataset"].get("max_length")
    share = cut_texts.get("train", 0) / max(1, rows) if cut_texts else 0.0
    if share > MANY_CUT and length:
        yield (
            f"{percent(share)} of the training texts are longer than {length} tokens and cut there; "
            "a larger dataset.max_length keeps more of them."
        )


def _few_steps(material: Material) -> Iterator[str]:
    steps = material.manifest.get("steps")
    if steps is not None and steps < FEW_STEPS:
        yield f"Training took {counted(steps, 'step')}; a new classifier needs about training.max_steps={ENOUGH_STEPS}."


def _few_rows(material: Material) -> Iterator[str]:
    rows = material.label_rows.get("train", [])
    if few := [label for label, count in enumerate(rows) if count < FEW_ROWS]:
        least = min(few, key=lambda label: rows[label])
        have = f"{len(few)} of the {counted(len(rows), 'label')} {'has' if len(few) == 1 else 'have'}"
        yield (
            f"{have} fewer than {FEW_ROWS} training rows (fewest: {cut(material.labels[least])}, {rows[least]}); "
            "more rows of these labels help most."
        )


def _overfitted(material: Material) -> Iterator[str]:
    kept, steps = material.manifest.get("kept_step"), material.manifest.get("steps")
    if kept and steps and 3 * kept <= 2 * steps:
        yield f"Overfitting: validation got worse after step {kept:,} of {steps:,}, whose weights were kept."


def _still_improving(material: Material) -> Iterator[str]:
    losses = [row["validation_log_loss"] for row in material.history if row.get("validation_log_loss") is not None]
    last = material.manifest.get("kept_step") == material.manifest.get("steps")
    if last and len(losses) > 2 and losses[-1] < BETTER * min(losses[:-1]):
        yield "Validation log loss still fell at the end of training; more epochs are likely to help."


def _few_test_rows(material: Material) -> Iterator[str]:
    name = HEADLINES[material.task][0]
    bounds = material.test.get("intervals", {}).get(name)
    if bounds and bounds[1] - bounds[0] > WIDE_INTERVAL:
        yield (
            f"{counted(material.test['rows'], 'test row')} leave {score_name(name)} uncertain by about "
            f"±{number(50 * (bounds[1] - bounds[0]), 1)} points; smaller differences cannot be seen."
        )


LIMIT_RULES: tuple[Callable[[Material], Iterator[str]], ...] = (
    _texts_cut,
    _few_steps,
    _few_rows,
    _overfitted,
    _still_improving,
    _few_test_rows,
)


# ---- training and cost


def _training(material: Material) -> Fact | None:
    kept = kept_step(material)
    return Fact("Training", Markup.escape(f"The checkpoint holds {kept}.")) if kept else None


def kept_step(material: Material) -> str:
    """Return `the weights after step 340 of 680 (epoch 1.00 of 2.00)`; nothing for runs that did not note it."""
    kept, steps = material.manifest.get("kept_step"), material.manifest.get("steps")
    if kept is None or steps is None:
        return ""
    epochs = {row["step"]: row["epoch"] for row in material.history if row.get("epoch") is not None}
    of = f" (epoch {epochs[kept]:.2f} of {epochs[steps]:.2f})" if kept in epochs and steps in epochs else ""
    return f"the weights after step {kept:,} of {steps:,}{of}"


def _cost(material: Material) -> Fact | None:
    time, seconds = material.manifest.get("milliseconds_per_text"), material.manifest["seconds"].get("training")
    if not time or seconds is None:
        return None
    text = f"Training took {round(seconds):,} seconds; a text is labelled in {number(time, 1)} ms on the same machine."
    return Fact("Cost", Markup.escape(text))


RULES: tuple[Callable[[Material], Fact | None], ...] = (_weakest, _confidence, _limits, _training, _cost)
