"""`ftclf eval`: a saved checkpoint on a split, by the function that training calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ftclf.config import HEADLINES, EvalConfig, check
from ftclf.console import say, warn
from ftclf.data import load_split
from ftclf.errors import RunError
from ftclf.places import home_of, with_found_paths
from ftclf.runs import checkpoint_of, write_json


def evaluate_checkpoint(config: EvalConfig) -> float:
    """Print a checkpoint's scores on a split and return the first; `output` keeps all that training keeps."""
    check(config)
    folder = checkpoint_of(Path(config.checkpoint).expanduser())
    output = Path(config.output).expanduser() if config.output else None
    if output is not None and output.exists() and not output.is_dir():
        raise RunError(f"output: {output} is no folder; choose another name")
    if output is not None and (output / "metrics.json").exists():
        raise RunError(f"output: {output} holds metrics already; choose another folder")
    from ftclf.checkpoint import decide_by, load_checkpoint, read_info
    from ftclf.compute import scoring_compute
    from ftclf.evaluation import headline, score, write_evaluation
    from ftclf.libraries import quiet_libraries
    from ftclf.scoring import compute_logits, scoring_network
    from ftclf.tokens import cached_tokens

    info = read_info(folder)
    decide_by(info, config.decide)
    dataset = (
        replace(config.dataset, task=info.task)
        if config.dataset
        else with_found_paths(info.dataset, home_of(folder, info.started_in))
    )
    data = load_split(dataset, config.split, info.label_names)
    quiet_libraries()
    compute = scoring_compute(info.device, info.precision, info.threads)
    checkpoint = load_checkpoint(folder)
    split = data.splits[config.split]
    tokens, _ = cached_tokens(split, checkpoint.tokenizer, info.dataset.max_length)
    network = scoring_network(checkpoint.network, compute)
    batch_size = config.batch_size or info.eval_batch_size
    logits = compute_logits(network, tokens, compute, batch_size, checkpoint=folder)
    evaluation = score(logits, split, info)
    for note in data.notes:
        say(f"  note: {note}")
    same = data.digest(config.split) == info.digests.get(config.split)
    if config.dataset and dataset.train and not getattr(dataset, config.split):
        warn(
            f"the {config.split} rows are cut from {dataset.train}, and the checkpoint may have trained on them; "
            f"a file of rows to score goes into dataset.{config.split}"
        )
    if config.dataset is None and not same:
        warn(f"the {config.split} rows are not those that training scored: the data or the way it is cut has changed")
    name = info.data_name if same else data.name
    say(f"{config.split} {headline(evaluation.metrics, info.task)} ({len(split)} rows of {name})")
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
    return float(evaluation.metrics[HEADLINES[info.task][0]])
