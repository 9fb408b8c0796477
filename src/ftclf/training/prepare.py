"""Everything a run needs before its first step: the machine, weights, tokens, the network and its trainer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import TrainConfig, TrainingConfig, choosing_metric
from ftclf.config.settings import BASELINES_OF_TFIDF, NO_MODEL
from ftclf.data import Data, Split
from ftclf.data.label_sets import LabelSets
from ftclf.model.base_weights import base_of
from ftclf.model.samplers import Sampler
from ftclf.score.calibration import NEUTRAL, USUAL
from ftclf.score.task import Task, task_named
from ftclf.storage.run_folder import Run
from ftclf.storage.run_paths import found_at
from ftclf.system.console import say, warn
from ftclf.system.errors import ConfigError
from ftclf.system.imports import quiet_libraries
from ftclf.system.text import counted, data_name
from ftclf.training.resume import Standing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftclf.model.base_weights import Weights
    from ftclf.model.compute import Compute
    from ftclf.model.method import Parameters
    from ftclf.model.tokens import Tokens
    from ftclf.training.augment import Augmented, NewRow
    from ftclf.training.losses import TrainingLoss
    from ftclf.training.mixup import MixedLoss
    from ftclf.training.trainer import ClassifierTrainer

SCORED = ("validation", "test")  # in this order: validation settles how test is scored
SHOWN = 4  # of the most frequent labels, and of the rarest
LEAST_EXAMPLES, MOST_TOKENS = 4800, 10**6  # that few rows are seen for
MANY = 100_000  # rows that need no 3 epochs
EVALUATIONS = 12  # of more epochs than that
LOG_EVERY, LOGS = 50, 20  # steps between logged losses, or so many of them


@dataclass
class Prepared:
    """Everything a run needs before it trains, whatever it trains."""

    config: TrainConfig
    run: Run
    data: Data
    compute: Compute
    home: Path  # the working folder that relative paths are of

    @property
    def trained(self) -> Split:
        """The rows that are trained on; `data` has train as it was."""
        return self.data.splits["train"]

    @property
    def new_rows(self) -> list[NewRow]:
        """The rows that `augment` made."""
        return []

    @property
    def rows_made(self) -> dict[str, Any]:
        """What the manifest says of the rows that `augment` made."""
        return {}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of each split, and of train with the rows that `augment` made."""
        return {name: self.data.digest(name) for name in self.data.splits}

    @cached_property
    def sampler(self) -> Sampler:
        return Sampler(self.config.sampler, self.trained)

    @property
    def base(self) -> dict[str, str]:
        """What the run keeps of the weights that it starts from."""
        return {"origin": NO_MODEL, "sha256": "", "settings": ""}

    @property
    def baselines(self) -> list[str]:
        """The names of what the model is measured against."""
        return [name for name in self.config.baselines if name in BASELINES_OF_TFIDF]

    @property
    def usual_temperature(self) -> float:
        """The temperature that suits such models, which that of few validation rows is mixed with."""
        return NEUTRAL

    @property
    def texts_at_max_length(self) -> dict[str, int]:
        """How many texts of each split are cut."""
        return {}

    @property
    def from_cache(self) -> bool:
        """Whether the tokens of all texts were kept by an earlier run."""
        return False

    @property
    def prior(self) -> NDArray[np.float64]:
        """What train as it was says of each label alone, shape (labels,), see `Task.prior`."""
        rows = self.data.splits["train"]
        return task_named(self.data.task).prior(rows.rows_per_label(len(self.data.label_names)), len(rows))

    @property
    def calibration_prior(self) -> NDArray[np.float64]:
        """What a model says of each label that has learned nothing but their shares, by its loss and its sampler."""
        return self.prior


@dataclass
class PreparedNetwork(Prepared):
    """Everything a run needs before its network is built."""

    weights: Weights
    tokenizer: PreTrainedTokenizerBase
    tokens: dict[str, Tokens]  # by split
    known_tokens: bool
    augmented: Augmented | None  # the training rows with those that were made, where there are any
    trained_tokens: Tokens  # of the rows that are trained on

    @property
    def trained(self) -> Split:
        return self.augmented.split if self.augmented else self.data.splits["train"]

    @property
    def new_rows(self) -> list[NewRow]:
        return self.augmented.rows if self.augmented else []

    @property
    def rows_made(self) -> dict[str, Any]:
        return {"augmented": self.augmented.record} if self.augmented else {}

    @cached_property
    def digests(self) -> dict[str, str]:
        splits = {name: self.data.digest(name) for name in self.data.splits}
        return {**splits, "augmented": self.augmented.record["digest"]} if self.augmented else splits

    @property
    def label_rows(self) -> NDArray[Any]:
        """Rows of each label in an epoch, shape (labels,)."""
        labels = len(self.data.label_names)
        if self.sampler.plain:
            return self.trained.rows_per_label(labels)
        return self.sampler.label_rows(LabelSets.of(self.trained.labels, labels))

    @property
    def epoch_prior(self) -> NDArray[np.float64]:
        """What the rows of an epoch say of each label alone, shape (labels,), see `Task.prior`."""
        return task_named(self.data.task).prior(self.label_rows, self.sampler.rows)

    @property
    def calibration_prior(self) -> NDArray[np.float64]:
        return _loss(self).calibration_prior(self.epoch_prior)

    @property
    def base(self) -> dict[str, str]:
        return base_of(self.weights)

    @property
    def baselines(self) -> list[str]:
        return self.config.baselines

    @property
    def usual_temperature(self) -> float:
        return USUAL

    @property
    def texts_at_max_length(self) -> dict[str, int]:
        return {name: tokens.full for name, tokens in self.tokens.items()}

    @property
    def from_cache(self) -> bool:
        return self.known_tokens


def prepare(config: TrainConfig, run: Run, data: Data, standing: Standing) -> PreparedNetwork:
    """Find the weights, tokenise every split and settle what was left to the machine. Writes nothing but the cache."""
    from ftclf.model.base_weights import find_weights
    from ftclf.model.compute import check_compiler, choose_attention, choose_compute
    from ftclf.model.network import load_tokenizer, longest_text, outline
    from ftclf.model.tokens import cached_tokens
    from ftclf.training.augment import Base, augmented

    # First: it needs no torch, and is where most mistakes are.
    weights = find_weights(config.model, standing.home, of_a_folder=standing.of_a_folder)
    quiet_libraries()
    compute = choose_compute(config.training)
    if config.training.compile:
        check_compiler("training.compile", compute.device)
    network = outline(weights.folder)
    longest = longest_text(network)
    if longest is not None and config.dataset.max_length > longest:
        raise ConfigError(
            f"dataset.max_length: got {config.dataset.max_length}, allowed with this model: up to {longest}"
        )
    if config.model.attention == "sdpa" and not network._supports_sdpa:
        raise ConfigError(f"model.attention: got 'sdpa', allowed with {network.config.model_type}: auto, eager")
    tokenizer = load_tokenizer(weights.folder)
    cached = {name: cached_tokens(split, tokenizer, config.dataset.max_length) for name, split in data.splits.items()}
    tokens = {name: found for name, (found, _) in cached.items()}
    introduce_data(config, data)
    base = Base(weights, tokenizer, compute, standing.home)
    rows = augmented(config, data, base, run if standing.begun else None)
    trained = cached_tokens(rows.split, tokenizer, config.dataset.max_length)[0] if rows else tokens["train"]
    if config.model.attention == "auto":
        attention = choose_attention(trained.lengths, compute.device) if network._supports_sdpa else "eager"
        config = replace(config, model=replace(config.model, attention=attention))
    known, home = all(was_there for _, was_there in cached.values()), standing.home or Path.cwd()
    prepared = PreparedNetwork(config, run, data, compute, home, weights, tokenizer, tokens, known, rows, trained)
    _say_rows(prepared)
    mean_tokens, task = float(trained.lengths.mean()), task_named(data.task)
    prepared.config = replace(config, training=_with_length(config.training, prepared.sampler.rows, mean_tokens, task))
    _say_network(prepared)
    return prepared


def introduce_data(config: TrainConfig, data: Data) -> None:
    """Print what is trained on."""
    sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits.items())
    name = data_name(data.name, config.dataset.train)
    say(f"{name}: {sizes} rows, {counted(len(data.label_names), 'label')}")
    say(f"  rows per label in train: {_rows_per_label(data)}")
    for note in data.notes:
        say(f"  note: {note}")


def _say_rows(prepared: PreparedNetwork) -> None:
    config = prepared.config
    for name, tokens in prepared.tokens.items():
        if tokens.full:
            full = f"{counted(tokens.full, f'{name} text')} {'fills' if tokens.full == 1 else 'fill'}"
            say(f"  note: {full} dataset.max_length={config.dataset.max_length}: cut there")
    if not prepared.sampler.plain:
        say(f"  sampler={config.sampler.kind}: {prepared.sampler.rows:,} rows per epoch")


def _say_network(prepared: PreparedNetwork) -> None:
    config, compute = prepared.config, prepared.compute
    say(
        f"{config.model.alias}, {config.method.kind}, {compute.precision} on {compute.device}, "
        f"{counted(compute.threads, 'thread')}, {config.model.attention} attention"
    )


def _rows_per_label(data: Data) -> str:
    """Return `sport 409, tech 321`, the most frequent first; of many labels the ends alone."""
    counts = data.splits["train"].rows_per_label(len(data.label_names))
    shown = [f"{data.label_names[label]} {counts[label]:,}" for label in np.argsort(-counts, kind="stable")]
    return ", ".join(shown if len(shown) <= 2 * SHOWN else [*shown[:SHOWN], "...", *shown[-SHOWN:]])


def _with_length(training: TrainingConfig, rows: int, mean_tokens: float, task: Task) -> TrainingConfig:
    """Return the settings with a number of epochs that follows from their rows, unless their length is given."""
    at_once = training.batch_size * training.accumulation
    if training.max_steps is None and training.epochs is None:
        training = replace(training, epochs=usual_epochs(rows, mean_tokens, task))
        say(f"  training.epochs={training.epochs:g}, which is usual for {counted(rows, 'row')}")
    if rows < at_once and training.max_steps is None:
        name = "training.batch_size" if training.accumulation == 1 else "training.batch_size * accumulation"
        warn(f"{name} is larger than the {counted(rows, 'row')} of train: an epoch is a single step")
    return training


def with_intervals(training: TrainingConfig, rows: int) -> TrainingConfig:
    """Return the settings with how often is evaluated and logged, where that is not given."""
    steps = training.steps(rows)
    if training.eval_steps is None and steps > EVALUATIONS * training.steps_per_epoch(rows):
        training = replace(training, eval_steps=math.ceil(steps / EVALUATIONS))
    return replace(training, log_steps=training.log_steps or min(LOG_EVERY, max(1, steps // LOGS)))


def usual_epochs(rows: int, mean_tokens: float, task: Task) -> float:
    """Return a number of epochs that suits so many training rows with so many tokens on average.

    3 epochs, or 4 with several labels per row. Few rows are seen more often, until there were 4,800 examples, or a
    million tokens. Of more than 100,000 rows the epochs fall with the square root.
    """
    usual = task.usual_epochs
    if rows > MANY:
        return float(max(1, round(usual * math.sqrt(MANY / rows), 1)))
    return float(math.ceil(max(usual, min(LEAST_EXAMPLES, MOST_TOKENS / mean_tokens) / rows)))


def build_trainer(prepared: PreparedNetwork) -> tuple[ClassifierTrainer, Parameters]:
    """Build the network and its trainer; raises ConfigError for settings that fit no such network."""
    import torch

    from ftclf.fast import choose_engine
    from ftclf.model.method import apply_method, count_parameters, head_parameters
    from ftclf.model.network import NEEDED, build_classifier, refuse_other_tokenizer, refused_as, settle_padding
    from ftclf.system.memory import set_aside
    from ftclf.training.losses import set_output_bias
    from ftclf.training.trainer import ClassifierTrainer, TokenRows

    set_aside()  # all but the network and what will hold it
    config, data, tokens = prepared.config, prepared.data, prepared.tokens
    torch.manual_seed(config.training.seed)  # before the model: its head starts at random
    classifier = build_classifier(prepared.weights.folder, data.label_names, config.model)
    if classifier.head:
        say(f"  note: the head of {config.model.name} {classifier.head}")
    refuse_other_tokenizer(prepared.tokenizer, classifier.network)
    settle_padding(classifier.network, prepared.tokenizer)
    of_rows = _loss(prepared)
    with refused_as(f"model.name: {config.model.name} cannot be trained with method={config.method.kind}", NEEDED):
        set_output_bias(classifier, of_rows.start(prepared.epoch_prior))
        head = head_parameters(classifier, config.method)
        network = apply_method(classifier, config.method)
    if config.start_from:
        _start_from(Run(found_at(config.start_from, prepared.home)), network, prepared)
    _try(prepared, network)
    engine = choose_engine(network, prepared.compute, config.training, int(prepared.trained_tokens.lengths.max()))
    engine.place()
    mixup = config.training.mixup
    loss = _mixed(of_rows, prepared, network, classifier.network) if mixup else of_rows
    parameters = count_parameters(network)
    trained = f"{parameters.trainable:,} of {parameters.total:,} weights are trained ({parameters.share:.1%})"
    say(f"{trained}, engine {engine.name}")
    trainer = ClassifierTrainer(
        network,
        with_intervals(config.training, prepared.sampler.rows),
        choosing_metric(config),
        prepared.run,
        compute=prepared.compute,
        engine=engine,
        prior=None if config.decision.calibration == "none" else prepared.calibration_prior,
        train=TokenRows(prepared.trained_tokens, prepared.trained, engine),
        validation=(tokens["validation"], data.splits["validation"]),
        head=head,
        loss=loss,
        sampler=prepared.sampler,
    )
    return trainer, parameters


def _loss(prepared: PreparedNetwork) -> TrainingLoss:
    from ftclf.model.batches import rows_per_batch
    from ftclf.training.losses import training_loss

    training, rows = prepared.config.training, prepared.sampler.rows
    batch = rows_per_batch(rows, training.batch_size) * training.accumulation
    rows_per_step = batch if training.batching == "by_tokens" else None
    task = task_named(prepared.data.task)
    return training_loss(prepared.config.loss, task, prepared.label_rows, train_rows=rows, rows_per_step=rows_per_step)


def _mixed(loss: Any, prepared: PreparedNetwork, network: Any, bare: Any) -> MixedLoss:
    from ftclf.model.batches import model_inputs
    from ftclf.training.mixup import MixedLoss, output_of, refuse_unpooled

    output = output_of(network, bare)
    rows = np.arange(min(2, len(prepared.trained_tokens)))
    refuse_unpooled(network, output, model_inputs(prepared.trained_tokens, rows, prepared.compute.device))
    return MixedLoss(loss, output, prepared.config.training.mixup)


def _start_from(run: Run, network: Any, prepared: PreparedNetwork) -> None:
    """Put the weights of a finished run into a network of the same labels, base and method."""
    from ftclf.checkpoint.format import load_checkpoint

    if not run.finished and any(prepared.run.resumable.glob("checkpoint-*")):
        return  # it was taken away since, and the run goes on from weights of its own
    found = load_checkpoint(run.checkpoint)
    before, config = found.info, prepared.config
    ours = {"dataset.task": config.dataset.task, "labels": prepared.data.label_names, "method": asdict(config.method)}
    theirs = {"dataset.task": before.task, "labels": before.label_names, "method": before.method}
    ours["model"], theirs["model"] = prepared.weights.sha256, before.base_sha256
    if other := [name for name, value in ours.items() if theirs[name] != value]:
        raise ConfigError(f"start_from: {run.folder} has another {other[0]}; it is trained further with its own alone")
    try:
        network.load_state_dict(found.network.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"start_from: {run.folder} has the weights of another network") from error


def _try(prepared: PreparedNetwork, network: Any) -> None:
    """Ask a network for what training will; raises WeightsError or ConfigError where it cannot do it.

    The kinds whose blocks are computed here are tried on a GPU with the kernels for it, see fast/gpu/trial.py.
    """
    from ftclf.fast import has_blocks
    from ftclf.training.probe import able_compute, make_probe

    config, compute = prepared.config, prepared.compute
    if config.training.gradient_checkpointing and not network.supports_gradient_checkpointing:
        raise ConfigError(
            f"training.gradient_checkpointing: got true, which {network.config.model_type} cannot do; leave it out"
        )
    if compute.device != "cpu" and compute.engine != "plain" and has_blocks(network):
        return
    probe = make_probe(
        prepared.data.splits["train"].texts[0],
        prepared.tokenizer,
        labels=len(prepared.data.label_names),
        max_length=config.dataset.max_length,
        longest=max(int(tokens.lengths.max()) for tokens in (*prepared.tokens.values(), prepared.trained_tokens)),
    )
    prepared.compute = able_compute(
        network, probe, compute, name=config.model.alias, may_change=config.training.precision == "auto"
    )
