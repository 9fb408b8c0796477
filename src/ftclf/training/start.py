"""The first that a run writes; or, where it goes on, what it must find again."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.storage.durable import refuse_too_little_room
from ftclf.storage.run_folder import Run, clear, cut_history, read_json
from ftclf.storage.run_paths import found_at, way
from ftclf.system.console import say
from ftclf.training import resume
from ftclf.training.augment import write_rows
from ftclf.training.prepare import Prepared
from ftclf.training.resumable import newest_checkpoint, read_progress

if TYPE_CHECKING:
    from ftclf.training.trainer import ClassifierTrainer


def start(
    prepared: Prepared, trainer: ClassifierTrainer | None = None, *, begun: bool
) -> tuple[dict[str, Any], Path | None]:
    """Write what the run begins with; one that goes on must find the same conditions, and its last whole checkpoint.

    Without a trainer nothing was kept while it trained: it begins anew.
    """
    config, run = prepared.config, prepared.run
    config = replace(config, resume=None, training=replace(config.training, precision=prepared.compute.precision))
    conditions, checkpoint, history = _conditions(prepared), None, 0
    if trainer is not None:
        _refuse_too_little_room(prepared, trainer)
    if begun:
        record, changes = resume.begun(run, config, conditions)
        checkpoint = newest_checkpoint(run, record["id"])
        progress = read_progress(checkpoint) if checkpoint else None
        step, history = (progress.step, progress.history) if progress else (0, 0)
        record = resume.go_on(run, config, record, step, changes)
        say("the run begins anew" if trainer is None else f"the run goes on after step {step}")
    else:
        clear(run)
        record = resume.begin(run, config, conditions)
    if prepared.new_rows:
        write_rows(run.augmented, prepared.new_rows, prepared.data.label_names)
    for path in (run.failure, run.report):  # of a run that had diverged
        path.unlink(missing_ok=True)
    cut_history(run, history)
    if trainer is not None:
        trainer.run_id = record["id"]
    return {
        name: record[name] for name in ("id", "label_names", "resumes", "started_in", "started_from") if name in record
    }, checkpoint


def _conditions(prepared: Prepared) -> dict[str, Any]:
    """Return what a run begins with: what it must find again when it goes on, what it should, and what it is."""
    from ftclf.model.compute import describe_machine
    from ftclf.system.versions import versions

    data = prepared.data
    return {
        **_started_from(prepared),
        "dataset": data.name,
        "task": data.task,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        **prepared.rows_made,
        "digests": prepared.digests,
        "label_names": data.label_names,
        "base": prepared.base,
        "started_in": way(prepared.run.folder, prepared.home),
        "compute": asdict(prepared.compute),
        "processor": describe_machine()["processor"],
        "versions": versions(),
    }


def _started_from(prepared: Prepared) -> dict[str, Any]:
    """Return what the run was trained for whose weights this one begins with, or nothing."""
    if prepared.config.start_from is None:
        return {}
    earlier = Run(found_at(prepared.config.start_from, prepared.home))
    if not earlier.finished and prepared.run.manifest.is_file():  # it was taken away since
        return {"started_from": resume.started_from(read_json(prepared.run.manifest))}
    return {"started_from": resume.trained_before(earlier)}


def _refuse_too_little_room(prepared: Prepared, trainer: ClassifierTrainer) -> None:
    """Refuse to begin what the disk has no room for: as many checkpoints as stand side by side, and the last one."""
    training, run, rows = trainer.config, prepared.run, prepared.sampler.rows
    evaluations = math.ceil(training.steps(rows) / (training.eval_steps or training.steps_per_epoch(rows)))
    there = sum(path.stat().st_size for path in run.resumable.rglob("*") if path.is_file())
    needed = (min(trainer.most_checkpoints, evaluations) + 1) * trainer.checkpoint_bytes()
    refuse_too_little_room(run.folder, needed - there)
