"""`ftclf eval`: a saved checkpoint on a split, by the function that training calls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftclf.config import DatasetConfig, EvalConfig, check
from ftclf.data import fitted_layout, load_split, share_known
from ftclf.score.evaluation import headline, headline_html
from ftclf.storage.run_folder import as_json, checkpoint_of, write_json
from ftclf.storage.run_paths import home_of, with_found_paths
from ftclf.system.console import say, warn
from ftclf.system.errors import RunError
from ftclf.system.tables import say_table
from ftclf.system.text import counted, data_name

if TYPE_CHECKING:
    from ftclf.checkpoint.format import CheckpointInfo


MANY_KNOWN = 0.05  # of the rows: short texts are written twice now and then
# Where the rows of a checkpoint came from: none of it is of another file.
ORIGIN = ("train", "validation", "test", "folder", "hub", "hub_config", "hub_revision", "package", "package_folder")


@dataclass(frozen=True, repr=False)
class SplitScores:
    """Scores of a checkpoint on a split; `metrics` is what `metrics.json` holds of it."""

    metrics: dict[str, Any]
    split: str
    task: str
    data: str  # name of the rows

    def __repr__(self) -> str:
        return f"<{self.split} {headline(self.metrics, self.task)} ({self.rows})>"

    def _repr_html_(self) -> str:
        """Return a table of the headline scores with their intervals, for a notebook."""
        return headline_html({self.split: self.metrics}, self.task, caption=self.rows)

    @property
    def rows(self) -> str:
        return f"{counted(self.metrics['rows'], 'row')} of {self.data}"


def evaluate_checkpoint(config: EvalConfig, given: Collection[str] = ()) -> SplitScores:
    """Print a checkpoint's scores on a split and return them; `output` keeps all that training keeps.

    `given` names the settings of the command line: with dataset=files the others are those of training.
    """
    check(config)
    folder = checkpoint_of(Path(config.checkpoint).expanduser())
    output = Path(config.output).expanduser() if config.output else None
    if output is not None and output.exists() and not output.is_dir():
        raise RunError(f"output: {output} is no folder; choose another name")
    if output is not None and (output / "metrics.json").exists():
        raise RunError(f"output: {output} holds metrics already; choose another folder")
    from ftclf.checkpoint.format import decide_by, read_info
    from ftclf.checkpoint.scorer import open_scorer
    from ftclf.report.evaluation_files import write_evaluation
    from ftclf.score.evaluation import score
    from ftclf.score.wording import headline_table

    info = read_info(folder)
    decide_by(info, config.decide)
    dataset = _dataset(config, info, given, home_of(folder, info.started_in))
    data = load_split(dataset, config.split, info.label_names)
    scorer = open_scorer(folder, info, threads=info.threads, engine=config.engine)
    split = data.splits[config.split]
    logits = scorer.logits_of(split, config.batch_size or info.eval_batch_size)
    evaluation = score(logits, split, info)
    for note in data.notes:
        say(f"  note: {note}")
    same = data.digest(config.split) == info.digests.get(config.split)
    trained_on = share_known(split.texts, info.trained_texts) if config.split != "train" else 0.0
    if trained_on >= MANY_KNOWN:
        warn(
            f"about {trained_on:.0%} of these rows have texts that the checkpoint was trained on, easy ones for it; "
            f"a file of other rows goes into dataset.{config.split}"
        )
    if config.dataset is None and not same:
        warn(f"the {config.split} rows are not those that training scored: the data or the way it is cut has changed")
    scored = dataset.train if same else getattr(dataset, config.split) or dataset.train
    name = data_name(info.data_name if same else data.name, scored)
    scores = SplitScores(as_json(evaluation.metrics), config.split, info.task, name)
    title = f"{config.split}, {scores.rows}"
    say_table(headline_table({config.split: evaluation.metrics}, config.split, info.task, title=title))
    if output is not None:
        write_evaluation(
            evaluation,
            split,
            info.label_names,
            config.split,
            predictions=output / "predictions",
            plots=output / "plots",
        )
        write_json(output / "metrics.json", {config.split: evaluation.metrics})
        say(f"evaluation folder: {output}")
    return scores


def _dataset(config: EvalConfig, info: CheckpointInfo, given: Collection[str], home: Path | None) -> DatasetConfig:
    """Return the settings of the rows to score: those of training for files that are named alone."""
    trained = with_found_paths(info.dataset, home)
    if config.dataset is None:
        return trained
    if config.dataset.name != "files":
        return replace(config.dataset, task=info.task)
    names = [name.removeprefix("dataset.") for name in given if name.startswith("dataset.")]
    if not any(getattr(config.dataset, name) for name in ORIGIN):  # the rows of training, read by other rules
        return replace(trained, **{name: getattr(config.dataset, name) for name in names}, task=info.task)
    free = {name: getattr(config.dataset, name) for name in (*ORIGIN, "name", "about", "terms", "source", *names)}
    dataset = replace(trained, **free, task=info.task, official_train_rows=None)
    if "label_file" not in names and dataset.label_file and not Path(dataset.label_file).is_file():
        dataset = replace(dataset, label_file=None)
    path = getattr(dataset, config.split)
    if path is None or not Path(path).expanduser().is_file():
        return dataset
    return fitted_layout(Path(path).expanduser(), dataset, names)
