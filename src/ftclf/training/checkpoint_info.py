"""What a run's checkpoint says of itself, before validation settles how it is scored."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ftclf import __version__
from ftclf.data import sketch
from ftclf.storage.run_paths import way
from ftclf.training.prepare import Prepared

if TYPE_CHECKING:
    from ftclf.checkpoint.format import CheckpointInfo


def checkpoint_info(prepared: Prepared) -> CheckpointInfo:
    from ftclf.checkpoint.format import CheckpointInfo
    from ftclf.score.calibration import Calibration
    from ftclf.score.decisions import Decision

    config, data, compute = prepared.config, prepared.data, prepared.compute
    return CheckpointInfo(
        label_names=data.label_names,
        data_name=data.name,
        digests={name: data.digest(name) for name in data.splits},
        dataset=config.dataset,
        model=config.model,
        method=asdict(config.method),
        calibration=Calibration(),
        decision=Decision(),
        other_decisions={},
        base_origin=prepared.base["origin"],
        base_sha256=prepared.base["sha256"],
        base_settings=prepared.base["settings"],
        trained_texts=sketch(prepared.trained.texts),
        started_in=way(prepared.run.checkpoint, prepared.home),
        device=compute.device,
        precision=compute.precision,
        threads=compute.threads,
        engine=compute.engine,
        eval_batch_size=config.training.eval_batch_size,
        task=data.task,
        version=__version__,
    )
