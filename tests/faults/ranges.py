"""Settings out of their range, of the wrong kind, or against one another."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from faults.apart import Ended, one_line, run_apart
from faults.world import Check, World

NAME = "hyperparameter values out of range, not finite, of the wrong kind or against one another"
GOAL = (
    "exit 2 and one line that names setting, value and what is allowed, before torch is imported; at the bounds, from "
    "inside, a run that ends well, or with exit 4 where a rate is too large"
)

# Setting, value as it is given, value as it is shown (as given where there is none).
NUMBERS = """
training.learning_rate nan
training.learning_rate inf
training.learning_rate -inf
training.learning_rate 1e400 inf
training.learning_rate 1e-400 0.0
training.learning_rate 0 0.0
training.learning_rate -1e-4 -0.0001
training.learning_rate 11 11.0
training.learning_rate true True
training.learning_rate fast
training.learning_rate [1] [1]
training.learning_rate {a:1} {'a':
training.learning_rate null
training.epochs 0 0.0
training.epochs -1 -1.0
training.epochs 100001 100001.0
training.epochs nan
training.epochs few
training.max_steps 0
training.max_steps -1
training.max_steps 99999999999999999999
training.max_steps 1.5
training.batch_size 0
training.batch_size -8
training.batch_size 65537
training.batch_size 1e3 1000.0
training.batch_size 0x10
training.batch_size true True
training.batch_size null
training.accumulation 0
training.accumulation 99999999
training.eval_batch_size 0
training.warmup -0.1
training.warmup 0.95
training.warmup 1e999 inf
training.weight_decay -0.01
training.weight_decay 11 11.0
training.weight_decay nan
training.max_grad_norm -1 -1.0
training.max_grad_norm inf
training.max_grad_norm 1e12 1000000000000.0
training.seed -1
training.seed 4294967296
training.seed 0.5
training.seed ''
training.seeds 0
training.seeds 101
training.threads 0
jobs 0
jobs 1025
training.threads 1025
training.eval_steps 0
training.eval_steps -5
training.eval_steps 1e30 1e+30
training.average -0.1
training.average 1 1.0
training.average nan
training.early_stopping 0
training.early_stopping -1
training.log_steps 0
training.gradient_checkpointing 2.5
training.keep_checkpoints maybe
training.extra.adam_beta1 1 1
training.extra.adam_beta2 -0.5
training.extra.adam_beta2 nan
training.extra.adam_epsilon -1e-8 -1e-08
training.extra.adam_epsilon small
training.extra.adam_epsilon true True
training.extra.neftune_noise_alpha -1
training.extra.ddp_timeout inf
method.r 0
method.r -4
method.r 1025
method.r 4.5
method.r true True
method.alpha 0 0.0
method.alpha -32 -32.0
method.alpha nan
method.alpha 1e300 1e+300
method.dropout -0.1
method.dropout 1 1.0
method.dropout nan
method.learning_rate 0 0.0
method.learning_rate 1e9 1000000000.0
model.dropout -0.1
model.dropout 1.5
model.attention_dropout 1 1.0
dataset.max_length 0
dataset.max_length 3
dataset.max_length 8193
dataset.max_length -1
dataset.max_length 99999999999999999999
dataset.validation_size 0 0.0
dataset.validation_size 1 1.0
dataset.validation_size -0.1
dataset.test_size 0 0.0
dataset.test_size nan
dataset.split_seed -1
dataset.split_seed 4294967296
dataset.first_label_id 2
dataset.default_epochs 0 0.0
dataset.default_epochs inf
dataset.official_train_rows 0
decision.min_precision 0 0.0
decision.min_precision 1.5
decision.beta 0 0.0
decision.beta -1 -1.0
decision.k 0
decision.k 1001
decision.min_positives 0
training.optimizer adamm
training.schedule triangular
training.precision fp8
training.device tpu
training.metric loss
training.batching shuffled
decision.rule best
method.init random
"""

# Words, and what the line must hold: settings that are fine alone.
TOGETHER = {
    "dataset.validation_size=0.5 dataset.test_size=0.5": "dataset.validation_size: 0.5 and test_size 0.5",
    "training.seed=4294967295 training.seeds=2": "training.seed: got 4294967295, allowed with training.seeds=2",
    "training.max_steps=10 training.eval_steps=11": "training.eval_steps: got 11, allowed with training.max_steps=10",
    "training.device=cpu training.precision=fp16": "training.precision: got 'fp16', allowed with training.device=cpu",
    "method.init=orthogonal method.r=3": "method.r: got 3, allowed with method.init=orthogonal: even numbers",
    "method=full method.r=4": "method.r: method=full has no such setting",
    "method=head method.head_rate=4": "method.head_rate: method=head has no such setting",
    "method=full method.head_rate=0": "method.head_rate: got 0.0, allowed: above 0 to 1000",
    "dataset.task=multi_label loss=label_smoothing": "loss: got 'label_smoothing', which is for dataset.task=",
    "loss=asymmetric": "loss: got 'asymmetric', which is for dataset.task=multi_label, allowed with",
    "loss=label_smoothing loss.smoothing=1": "loss.smoothing: got 1.0, allowed: from 0 to 0.9",
    "loss=focal loss.gamma=-1": "loss.gamma: got -1.0, allowed: from 0 to 10",
    "loss=focal loss.tau=1": "loss.tau: loss=focal has no such setting",
    "loss.gamma=1": "loss.gamma: loss=plain has no such setting",
    "sampler=capped sampler.cap=0": "sampler.cap: got 0, allowed: from 1 to 1000000000",
    "sampler=balanced sampler.cap=5": "sampler.cap: this sampler has no such setting; it is one of sampler=capped",
    "augment=edits augment.target=0": "augment.target: got '0', allowed: max, median, a number of rows as 500",
    "augment=edits augment.target=1.5": "augment.target: got '1.5', allowed: max, median, a number of rows as 500",
    "augment=edits augment.edits=[]": "augment.edits: got [], allowed: one or more of delete, swap, insert, typos",
    "augment=edits augment.edits=[shuffle]": "augment.edits: got 'shuffle', allowed: delete, swap, insert, typos",
    "augment=edits augment.typos=0": "augment.typos: got 0.0, allowed: above 0 to 1",
    "augment=synonyms augment.keep=0.5": "augment.keep: augment=synonyms has no such setting; it is",
    "augment=rows": "augment.rows: not given",
    "augment.target=max": "augment.target: augment=none has no such setting",
    "training.mixup=11": "training.mixup: got 11.0, allowed: from 0 to 10",
    "training.mixup=1 training.compile=true": "training.compile: got true, allowed without training.mixup=1",
    "dataset.task=multi_label training.metric=accuracy": "training.metric: got 'accuracy', allowed with dataset.task=",
    "dataset.task=multi_label decision.calibration=temperature": "decision.calibration: got 'temperature', allowed",
    "decision.calibration=platt": "decision.calibration: got 'platt', allowed with dataset.task=single_label",
    "dataset.label_column=text": "dataset.label_column: 'text' is the column of the text too",
    "dataset.label_columns=[a,b]": "dataset.label_columns: a column a label is for several labels a row",
    "training.extra.seed=3": "training.extra.seed: ftclf sets it itself",
    "training.extra.hub_token=hf_secret": "training.extra.hub_token: ftclf uploads nothing and keeps no tokens",
    "-m method.r=4,0": "method.r: got 0, allowed: from 1 to 1024",
}


# Settings at their bounds, from inside: each trains some steps. Those of time alone (max_steps, seeds) are left out.
INSIDE = """
training.learning_rate=1e-300
training.learning_rate=10
training.epochs=1e-9
training.epochs=100000
training.batch_size=1
training.batch_size=65536
training.accumulation=65536
training.eval_batch_size=1
training.eval_batch_size=65536
training.batching=by_length training.batch_size=1
training.batching=random training.batch_size=65536
training.warmup=0
training.warmup=0.9
training.weight_decay=0
training.weight_decay=10
training.max_grad_norm=0
training.max_grad_norm=1000000
training.max_grad_norm=1e-300
loss=label_smoothing loss.smoothing=0.9
loss=weighted loss.scheme=effective loss.effective_beta=0
loss=weighted loss.scheme=effective loss.effective_beta=0.999999
loss=focal loss.gamma=0
loss=focal loss.gamma=10
loss=logit_adjusted loss.tau=5
loss=ldam loss.max_margin=20 loss.scale=100
loss=ldam loss.max_margin=0 loss.scale=1e-300
sampler=capped sampler.cap=1
sampler=capped sampler.cap=1000000000
augment=edits augment.target=1000 augment.most_per_row=1
augment=edits augment.target=1.0 augment.delete=0.9 augment.swap=1 augment.insert=1 augment.typos=1
augment=synonyms augment.target=1000 augment.similarity=0 augment.rate=1
augment=sentences augment.target=1000 augment.keep=0.95 augment.long=1000
training.mixup=10
training.mixup=1e-300
training.seed=4294967295
training.average=0
training.average=0.99999
training.early_stopping=1
training.eval_steps=1
training.log_steps=1
training.optimizer=adafactor
training.optimizer=sgd
training.optimizer=rmsprop
training.optimizer=adagrad
training.optimizer=adamw_torch
training.schedule=cosine
training.schedule=constant
training.schedule=constant_with_warmup
training.schedule=inverse_sqrt
training.schedule=polynomial
training.schedule=cosine_with_restarts
training.extra.adam_beta1=0
training.extra.adam_beta1=0.99999
training.extra.adam_beta2=0
training.extra.adam_beta2=0.9999999
training.extra.adam_beta1=0 training.extra.adam_beta2=0
training.extra.adam_beta1=0.99999 training.extra.adam_beta2=0
training.extra.adam_epsilon=1e-20
training.extra.adam_epsilon=1
training.extra.neftune_noise_alpha=10000
training.extra.torch_empty_cache_steps=1
model.dropout=0
model.dropout=0.9
model.attention_dropout=0.9
model.attention_dropout=null
model.attention=eager
model.attention=sdpa
method=lora method.r=1
method=lora method.r=1024
method=lora method.alpha=10000
method=lora method.alpha=1e-300
method=lora method.dropout=0
method=lora method.dropout=0.9
method=lora method.rslora=true
method=lora method.dora=true
method=lora method.init=orthogonal
method=lora method.init=gaussian
method=lora method.init=pissa
method=lora method.init=olora
method=head method.learning_rate=10
method.head_rate=1e-9
method.head_rate=1000
method.freeze_embeddings=true
dataset.max_length=4
dataset.max_length=128
dataset.validation_size=0.5
dataset.validation_size=0.001
dataset.test_size=0.5
dataset.test_size=0.001
dataset.split_seed=4294967295
decision.calibration=none
decision.min_precision=1
decision.min_precision=1e-9
decision.min_positives=1
dataset.task=multi_label decision.rule=top_k decision.k=1000
dataset.task=multi_label decision.beta=10
dataset.task=multi_label decision.beta=1e-9
dataset.task=multi_label decision.rule=argmax
dataset.task=multi_label decision.rule=threshold decision.objective=micro_f1
dataset.task=multi_label decision.search=observed decision.min_positives=1
dataset.task=multi_label decision.calibration=isotonic
"""
MAY_DIVERGE = "learning_rate=10|head_rate=1000|weight_decay=10|neftune|alpha=10000|adam_beta"
GROUP = 12  # command lines in one process
FEW = 12  # of them in the short form
SHORT = (
    "method=full",
    "training.max_steps=3",
    "training.batch_size=16",
    "training.threads=1",
    "training.precision=fp32",
    "baselines=[]",
)


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    base = [
        "train",
        "dataset=files",
        f"dataset.train={world.root / 'data.csv'}",
        f"model.name={world.root}/models/bert",
    ]
    cases = [line.split() for line in NUMBERS.strip().splitlines()]
    words = [[f"{setting}={value}"] for setting, value, *_ in cases] + [line.split() for line in TOGETHER]
    ended = run_apart([[*base, *more] for more in words], world.folder("ranges"))
    for (setting, value, *shown), found in zip(cases, ended, strict=False):
        got = "null" if value == "null" else (shown or [value.strip("'")])[0]
        yield seed, lambda s=setting, g=got, f=found: _refused(f, [f"error: {s}: got ", g, "allowed: "])
    for line, found in zip(TOGETHER.values(), ended[len(cases) :], strict=True):
        yield seed, lambda w=line, f=found: _refused(f, [f"error: {w}"])
    yield seed, _every_number_has_bounds
    lines = INSIDE.strip().splitlines()
    if not long:  # each is a whole run
        lines = random.Random(seed).sample(lines, FEW)
    for start in range(0, len(lines), GROUP):
        yield seed, lambda group=lines[start : start + GROUP], number=start: _inside(world, base, group, number)


def _inside(world: World, base: list[str], lines: list[str], number: int) -> str:
    """Train at some bounds, in one process; return which did not end well."""
    folder = world.folder("inside", number)
    commands = []
    for place, line in enumerate(lines):
        given = [*base, *SHORT, f"run_dir={folder / str(place)}", *line.split()]
        commands.append(list({word.partition("=")[0]: word for word in given}.values()))
    ended = run_apart(commands, folder)
    problems = [
        f"{line} ended with {end.code}: {end.said}"
        for line, end in zip(lines, ended, strict=True)
        if end.code not in (0, 4) or (end.code == 4 and not re.search(MAY_DIVERGE, line)) or "bug in" in end.said
    ]
    return "; ".join(problems)


def _refused(ended: Ended, parts: list[str]) -> str:
    missing = [part for part in parts if part not in ended.said]
    return one_line(ended) or (f"no {missing} in: {ended.said}" if missing else "")


def _every_number_has_bounds() -> str:
    """No setting is a number without both ends."""
    from ftclf.config import EvalConfig, PredictConfig, TrainConfig, every_variant

    open_ended = [
        name
        for config in (TrainConfig, EvalConfig, PredictConfig, *(variant for _, variant in every_variant()))
        for name, item in _settings(config)
        if ("int" in str(item.type) or "float" in str(item.type))
        and (item.metadata["high"] is None or (item.metadata["low"] is None and item.metadata["above"] is None))
    ]
    return f"numbers without bounds: {', '.join(open_ended)}" if open_ended else ""


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    for item in fields(config):
        if isinstance(item.default_factory, type) and is_dataclass(item.default_factory):
            yield from _settings(item.default_factory)
        else:
            yield item.name, item
