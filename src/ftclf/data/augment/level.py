"""The loop that makes rows until each label has what it needs, none of them like a row of validation or test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast

from ftclf.config import LevelledConfig
from ftclf.data.augment.draft import AugmentInputs, Draft, Step
from ftclf.data.augment.held_out import HeldOut
from ftclf.data.augment.targets import Need
from ftclf.data.check.near import normalised
from ftclf.system.progress_bar import advance

AT_ONCE = 64  # rows that a step is given together
SPARE = 8  # rows beyond those that are needed: some give nothing
FRUITLESS = 3  # rounds over the rows of a label without a new one, after which other rows give more than their share


@dataclass
class Levelled:
    """New rows, and what became of the drafts that are none."""

    drafts: list[Draft] = field(default_factory=list)
    like_held_out: int = 0  # like a row of validation or test
    repeated: int = 0  # like a training row, or another new one
    missing: dict[int, int] = field(default_factory=dict)  # rows that a label still needs


def level(step: Step, inputs: AugmentInputs, needs: Sequence[Need], held_out: HeldOut, *, seed: int) -> Levelled:
    """Make the rows that the labels need: a function of its arguments alone.

    Every row of a label gives as many new ones as the others, as far as it can. A draft that is like a row of
    validation or test, or has the text of a training row, is dropped, and another one is made in its place.
    """
    levelled = Levelled()
    seen = {hash(normalised(text)) for text in inputs.texts}
    for need in needs:
        random = Random(f"{seed} {need.label}")
        of_label = replace(inputs, peers=need.rows)
        left = _fill(step, of_label, need, held_out, random=random, seen=seen, levelled=levelled)
        if left:
            levelled.missing[need.label] = left
    return levelled


def _fill(
    step: Step,
    inputs: AugmentInputs,
    need: Need,
    held_out: HeldOut,
    *,
    random: Random,
    seen: set[int],
    levelled: Levelled,
) -> int:
    """Add the new rows of one label; return how many could not be made."""
    left, most = need.new, -(-need.new // len(need.rows))
    given = dict.fromkeys(need.rows.tolist(), 0)
    most_per_row, fruitless = cast(LevelledConfig, inputs.config).most_per_row, 0
    while left and most <= most_per_row:
        before = left
        able = [row for row, times in given.items() if times < most]
        for rows in _parts(random.sample(able, len(able))):
            for draft in step(rows[: left + SPARE], inputs, random):
                if left and draft is not None and _is_new(draft, held_out, seen=seen, levelled=levelled):
                    levelled.drafts.append(draft)
                    given[draft.sources[0]] += 1
                    left -= 1
                    advance()
            if not left:
                break
        fruitless = fruitless + 1 if left == before else 0
        if fruitless == FRUITLESS:
            most, fruitless = most + 1, FRUITLESS - 1
    return left


def _parts(rows: list[int]) -> Iterator[list[int]]:
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))


def _is_new(draft: Draft, held_out: HeldOut, *, seen: set[int], levelled: Levelled) -> bool:
    key = hash(normalised(draft.text))
    if not draft.text.strip() or key in seen:
        levelled.repeated += 1
        return False
    if held_out.match(draft.text):
        levelled.like_held_out += 1
        return False
    seen.add(key)
    return True
