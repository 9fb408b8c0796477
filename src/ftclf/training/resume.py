"""Whether a folder is free, holds this very run or another one, and under which conditions a run goes on."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ftclf.config import TrainConfig, check, train_config_from
from ftclf.config.did_you_mean import did_you_mean, pasteable
from ftclf.config.differences import DESCRIPTIONS, flatten, within
from ftclf.config.effect import effective
from ftclf.config.renamed import new_name
from ftclf.storage.run_folder import Run, read_json, write_json
from ftclf.storage.run_paths import FOLDER, home_of
from ftclf.system.console import say, warn
from ftclf.system.errors import ConfigError, RunError, short

# Where a run lies and how it is called: no part of what is trained.
APART = ("run_dir", "runs_dir", "name", "overwrite", "resume", "resume_allow", "training.seeds", "jobs")
# What must be the same in the data and the base model, beside the settings.
CONDITIONS = ("digests", "label_names", "base.sha256", "base.settings", "started_from.run")
# What moves the last bits alone: another machine may finish a run.
SURROUNDINGS = ("compute.device", "compute.precision", "compute.threads", "processor", "versions")

Changes = dict[str, tuple[Any, Any]]  # name: before, now


@dataclass(frozen=True)
class Standing:
    """What a folder holds of the run that is to be trained there, and the settings that it is trained with.

    `home` is the working folder that a run which goes on was started in; `of_a_folder` says that its base was one.
    """

    config: TrainConfig
    begun: bool = False
    finished: bool = False
    home: Path | None = None
    of_a_folder: bool = False


def find_standing(config: TrainConfig, folder: Path) -> Standing:
    """Look what stands in a run's folder; nothing is written.

    Raises RunError, with old and new value, where another run stands there that was not to be replaced.
    """
    run = Run(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"run_dir: {folder} is no folder; choose another name")
    _refuse_links(run)
    if config.resume is None and (config.overwrite or not _begun(run)):
        if not _begun(run):
            _refuse_foreign(run)
        home, of_a_folder = _origins(Run(Path(config.start_from).expanduser())) if config.start_from else (None, False)
        return Standing(config, home=home, of_a_folder=of_a_folder)
    before = stored_config(run)
    config = _with_resolved(config, before)
    changes = _changes(effective(flatten(asdict(before))), effective(flatten(asdict(config))))
    if run.finished and changes:
        raise RunError(
            f"run_dir: {folder} holds a finished run with other settings: {_told(changes)}; choose another folder or "
            "add overwrite=true"
        )
    _refuse_changes(config, folder, changes)
    return Standing(config, True, run.finished, *_origins(run))


def _origins(run: Run) -> tuple[Path | None, bool]:
    """Return the working folder that a run was started in, if it is there, and whether its base was a folder."""
    manifest = read_json(run.manifest) if run.manifest.is_file() else {}
    flat = flatten(manifest) if isinstance(manifest, dict) else {}
    started_in, origin = flat.get("started_in"), flat.get("base.origin")
    home = home_of(run.folder, started_in) if isinstance(started_in, str) else None
    return home, isinstance(origin, str) and origin.startswith(FOLDER)


def stored_config(run: Run) -> TrainConfig:
    """Return the settings that a run was begun with. Raises RunError where they cannot be read."""
    if not run.config.is_file():
        raise RunError(f"resume: {run.folder} holds no run (no config.json in it)")
    try:
        config = train_config_from(read_json(run.config))
        check(config)
        return config
    except (TypeError, ConfigError) as error:
        why = str(error).splitlines()[0]
        raise RunError(f"resume: {run.config} is of another version or damaged ({why})") from error


def trained_before(run: Run) -> dict[str, Any]:
    """Return what a finished run was trained for, with the runs that it started from: its id, epochs and steps."""
    manifest, training = read_json(run.manifest), stored_config(run).training
    before = started_from(manifest) or {"epochs": 0.0, "steps": 0}
    try:
        epochs = manifest["steps"] / training.steps_per_epoch(manifest.get("rows_per_epoch", manifest["rows"]["train"]))
        if training.max_steps is None and training.epochs is not None:
            epochs = min(epochs, training.epochs)  # the last step may hold fewer rows
        epochs = round(before["epochs"] + epochs, 6)
        return {"run": manifest["id"], "epochs": epochs, "steps": before["steps"] + manifest["steps"]}
    except (ArithmeticError, LookupError, TypeError) as error:
        raise RunError(f"start_from: {run.manifest} is of another version or damaged") from error


def started_from(manifest: Any) -> dict[str, Any] | None:
    """Return what a manifest says of the run whose weights its own began with."""
    found = manifest.get("started_from") if isinstance(manifest, dict) else None
    return found if isinstance(found, dict) else None


def further(config: TrainConfig, before: TrainConfig, run: Run) -> TrainConfig:
    """Return the settings of a run that starts from the weights of a finished one, to end with so many epochs in all.

    The unit is what differs from before: epochs, or steps. Raises ConfigError where there were as many.
    """
    if not before.method.needs_network:
        raise ConfigError(f"resume: {run.folder} is finished, and method={before.method.kind} has no more to train")
    training = config.training
    name = "epochs" if training.max_steps in (None, before.training.max_steps) else "max_steps"
    wanted, trained = getattr(training, name), trained_before(run)
    done = trained["epochs" if name == "epochs" else "steps"]
    if wanted is None or wanted <= done:
        got = "null" if wanted is None else f"{wanted:g}"
        raise ConfigError(f"training.{name}: got {got}, allowed: above {done:g}, which {run.folder} is trained for")
    unit = name.removeprefix("max_").removesuffix("s")
    more = f"{wanted - done:g} more {unit}{'s' * (wanted - done != 1)}"
    say(f"{run.folder} is finished: its weights are trained for {more}, in a new run")
    left: dict[str, Any] = {"epochs": None, "max_steps": None, name: wanted - done}
    return replace(config, training=replace(training, **left), start_from=os.path.relpath(run.folder))


def begin(run: Run, config: TrainConfig, conditions: dict[str, Any]) -> dict[str, Any]:
    """Write what a run begins with; its config.json says that it has begun. Returns the manifest so far."""
    manifest = {"id": uuid.uuid4().hex, **conditions, "resumes": []}
    write_json(run.manifest, manifest)
    write_json(run.config, asdict(config))
    return manifest


def begun(run: Run, config: TrainConfig, conditions: dict[str, Any]) -> tuple[dict[str, Any], Changes]:
    """Return the manifest that a run began with, and what differs now; nothing is written.

    Raises RunError for other rows, labels or base weights than it began with, unless `resume_allow` names them.
    """
    manifest = read_json(run.manifest)
    kinds = {"id": str, "label_names": list, "resumes": list}
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), kind) for key, kind in kinds.items()):
        raise RunError(f"resume: {run.manifest} is of another version or damaged; add overwrite=true to begin again")
    old, new = flatten(manifest), flatten(conditions)
    changes = _changes(_only(old, CONDITIONS), _only(new, CONDITIONS))
    _refuse_changes(config, run.folder, changes)
    around = _changes(_only(old, SURROUNDINGS), _only(new, SURROUNDINGS))
    if around:
        warn(f"resume: other surroundings may move the last bits: {_told(around)}")
    settings = _changes(flatten(asdict(stored_config(run))), flatten(asdict(config)))
    return manifest, {**settings, **changes, **around}


def go_on(run: Run, config: TrainConfig, manifest: dict[str, Any], step: int, changes: Changes) -> dict[str, Any]:
    """Record that a run goes on from a step, and what differs from its beginning. Returns the manifest so far."""
    told = {name: {"before": old, "now": new} for name, (old, new) in changes.items()}
    resume = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), "step": step, "changes": told}
    manifest = {**manifest, "resumes": [*manifest["resumes"], resume]}
    write_json(run.manifest, manifest)
    write_json(run.config, asdict(config))
    return manifest


def _begun(run: Run) -> bool:
    """Return whether a run has begun here: its config is there, and it or the manifest is one that a run writes."""
    if not run.config.is_file():
        return False
    for path, names in ((run.config, ("dataset", "training")), (run.manifest, ("id", "resumes"))):
        with suppress(RunError, OSError):
            found = read_json(path)
            if isinstance(found, dict) and all(name in found for name in names):
                return True
    return False


def _refuse_foreign(run: Run) -> None:
    """Refuse a folder in which a run would take the place of something that is none."""
    for path in (run.config, run.metrics, run.report, run.checkpoint, run.predictions, run.plots, run.resumable):
        if path.exists():
            name = f"{path.name}/" if path.is_dir() else path.name
            raise RunError(f"run_dir: {run.folder} holds {name} of something else; choose another folder")


def _refuse_links(run: Run) -> None:
    """Refuse a folder in which a name that a run writes leads elsewhere."""
    for path in run.own:
        if path.is_symlink():
            raise RunError(f"run_dir: {path} is a link, allowed: a folder in which a run's names are its own files")


def _with_resolved(config: TrainConfig, before: TrainConfig) -> TrainConfig:
    """Take what was left to ftclf as it was settled when the run began: another measurement may end otherwise."""
    training, model, settled = config.training, config.model, before.training
    if training.precision == "auto":
        training = replace(training, precision=settled.precision)
    if training.epochs is None:
        training = replace(training, epochs=settled.epochs)
    if model.attention == "auto":
        model = replace(model, attention=before.model.attention)
    if not config.method.needs_network:
        model = before.model
    return replace(config, training=training, model=model)


def _refuse_changes(config: TrainConfig, folder: Path, changes: Changes) -> None:
    allowed = [new_name(name) for name in config.resume_allow]
    refused = {name: values for name, values in changes.items() if not any(within(name, one) for one in allowed)}
    if refused:
        names = ",".join(refused)
        raise RunError(
            f"resume: the unfinished run in {folder} began with other conditions: {_told(refused)}; put back what was "
            f"there, permit it by {pasteable(f'resume_allow=[{names}]')}, or replace the run by overwrite=true"
        )
    known = [*flatten(asdict(config)), *changes, "digests.train", "digests.validation", "digests.test", *CONDITIONS[1:]]
    for name in allowed:
        if not any(within(one, name) for one in known):
            raise ConfigError(f"resume_allow: no setting or condition '{name}'.{did_you_mean(name, known)}")


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Changes:
    names = [name for name in dict.fromkeys([*old, *new]) if name not in APART and not name.endswith(DESCRIPTIONS)]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _only(flat: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in flat.items() if any(within(key, name) for name in names)}


def _told(changes: Changes) -> str:
    return ", ".join(f"{name} was {short(old)}, now it is {short(new)}" for name, (old, new) in changes.items())
