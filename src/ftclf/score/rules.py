"""What turns logits into answers: names, calibration and decisions, as they stand in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ftclf.config.settings import REQUIRED, TASKS, setting
from ftclf.score.calibration import Calibration
from ftclf.score.decisions import Decision


@dataclass(kw_only=True)
class Rules:
    """How logits become probabilities and labels; chosen on validation."""

    task: str = setting(REQUIRED, "one label per row, or any number of them", choices=TASKS)
    label_names: list[str]
    calibration: Calibration
    decision: Decision
    other_decisions: dict[str, Decision]  # several labels: what else validation chose, by objective
