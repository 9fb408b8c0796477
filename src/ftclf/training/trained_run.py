"""A finished run, as `ftclf.train` returns it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftclf.config import TrainConfig
from ftclf.score.baselines import against_strongest
from ftclf.score.evaluation import headline, headline_html
from ftclf.storage.run_folder import Run, read_json
from ftclf.training.resume import stored_config

SCORED = ("validation", "test")


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A run folder with what it says of itself. It stands wherever a path of a run is asked for."""

    folder: Path
    config: TrainConfig  # as it was trained, with what was left to ftclf filled in
    metrics: dict[str, Any]  # what metrics.json holds: validation, test, baselines

    @classmethod
    def read(cls, folder: Path) -> TrainedRun:
        """Read a finished run from its folder."""
        run = Run(folder)
        return cls(folder, stored_config(run), read_json(run.metrics))

    @property
    def checkpoint(self) -> Path:
        """The folder of its weights, which `ftclf.load` opens, and so do peft and transformers."""
        return Run(self.folder).checkpoint

    @property
    def report(self) -> Path:
        return Run(self.folder).report

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<run {self.folder}: test {headline(self.metrics['test'], self.config.dataset.task)}>"

    def _repr_html_(self) -> str:
        """Return a table of the headline scores with their intervals, for a notebook."""
        task = self.config.dataset.task
        beside = f"; {against_strongest(self.metrics, task)}" if self.metrics["baselines"] else ""
        scores = {split: self.metrics[split] for split in SCORED}
        return headline_html(scores, task, caption=f"{self.folder}{beside}")
