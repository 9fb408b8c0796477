"""Files and words of somebody who means harm: code, markup, and names that lead elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults import hostile_paths, hostile_strings
from faults.apart import Ended, one_line, run_apart
from faults.processes import run
from faults.world import Check, World

NAME = (
    "poisoned pickles in every file of a checkpoint, auto_map, _target_ places, script strings as text, label, column, "
    "run and file name, path names"
)
GOAL = "no code run, no markup, nothing outside the folder; what is refused is refused in one line"

# Where code could be named, and the words that would lead to it. `evil` is a module in the current folder.
TARGETS = [
    "hydra.sweeper._target_=evil.run",
    "hydra.launcher._target_=evil.run",
    "-m hydra.sweeper._target_=evil.run",
    "++hydra.sweeper={_target_:evil.run}",
    "+hydra.callbacks.x._target_=evil.run",
    "++hydra.callbacks.x={_target_:evil.run}",
    "+hydra.launcher.sampler._target_=evil.run",
    "+hydra.job_logging.filters.x.()=evil.run",
    "+hydra.job_logging.handlers.x.class=evil.run",
    "+hydra.hydra_logging.formatters.x.()=evil.run",
    "hydra/job_logging=evil",
    "hydra.searchpath=[pkg://evil]",
    "hydra.job.env_set.PYTHONSTARTUP=evil.py",
    "+hydra.job.env_set.LD_PRELOAD=evil.so",
    "hydra.run.dir=elsewhere",
    "hydra.sweep.subdir=../elsewhere",
    "hydra.output_subdir=../elsewhere",
    "--experimental-rerun evil.pickle",
    "--config-path pkg://evil",
    "--config-dir own --config-name start",
    "--config-dir own dataset=target",
    "--config-dir own dataset=callback",
    "--config-dir own dataset=pickled",
    "--config-dir own experiment=logging",
    "--config-dir own hydra/launcher=evil",
    "-m --config-dir own hydra/launcher=evil",
    "--config-dir own hydra/sweeper=evil",
    "-m --config-dir own hydra/launcher=computed",
    "-m --config-dir own hydra/launcher=logging",
    "-m --config-dir own hydra/launcher=hidden",
    "-m --config-dir own experiment=swept",
    "-m +hydra.launcher.setup='${oc.create:${oc.decode:\"{_tar${oc.decode:get_}:evil.run}\"}}'",
    "--cfg hydra hydra.searchpath=[pkg://evil]",
    "--info searchpath hydra.searchpath=[pkg://evil]",
    "+dataset._target_=evil.run",
    "+method._target_=evil.run",
    "++training.extra._target_=evil.run",
    "++training.extra.hub_token=hf_secret",
    "dataset.about=${oc.env:FTCLF_SECRET}",
    "name=${oc.env:FTCLF_SECRET}",
    "training.seed=${oc.env:FTCLF_SECRET}",
    "dataset.source=package dataset.package=evil.inner",
    "model.package=evil.inner model.name=a/b",
]
BASIC = "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
OWN = {
    "dataset/target.yaml": "name: a\ntrain: data.csv\n_target_: evil.run\n",
    "dataset/callback.yaml": "# @package _global_\nhydra: {callbacks: {x: {_target_: evil.run}}}\ndataset: {name: a}\n",
    "dataset/pickled.yaml": "name: !!python/object/apply:evil.run []\ntrain: data.csv\n",
    "experiment/logging.yaml": "# @package _global_\nhydra: {job_logging: {filters: {x: {(): evil.run}}}}\n",
    "hydra/launcher/evil.yaml": "_target_: evil.run\n",
    "hydra/sweeper/evil.yaml": "_target_: evil.run\n",
    "hydra/launcher/computed.yaml": f"{BASIC}setup: ${{oc.create:{{_target_:evil.run}}}}\n",
    "hydra/launcher/logging.yaml": "# @package hydra.job_logging\nhandlers: {x: {class: evil.run}}\n",
    "hydra/launcher/hidden.yaml": f"{BASIC}a: {{b: {{_target_: evil.run}}, b._target_: math.sqrt}}\n",
    "experiment/swept.yaml": "# @package hydra.sweeper.params\n+hydra.job_logging.handlers.x.class: evil.run\n",
    "start.yaml": "defaults: [train]\nhydra: {searchpath: ['pkg://evil']}\n",
}
EVIL = "import pathlib\npathlib.Path({!r}).write_text('')\ndef run(*_, **__): pass\n"

# What a config.json or tokenizer_config.json could have the libraries load.
DETOURS: list[tuple[str, dict[str, Any]]] = [
    ("config.json", {"auto_map": {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}}),
    ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}),
    ("config.json", {"_attn_implementation": "evil/kernel", "attn_implementation": "evil/kernel"}),
    ("config.json", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
    ("config.json", {"transformers_weights": "../weights.safetensors"}),
    ("config.json", {"architectures": ["evil.M"], "trust_remote_code": True}),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "evil.T"}),
    ("tokenizer_config.json", {"tokenizer_class": "EvilTokenizer", "trust_remote_code": True}),
    ("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "evil/base", "target_modules": ["query"]}),
    ("adapter_config.json", {"megatron_config": {"a": 1}, "megatron_core": "evil"}),
    ("adapter_config.json", {"auto_mapping": {"parent_library": "evil", "base_model_class": "C"}}),
]
BESIDE = ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl", "x.pth")


def checks(world: World, seed: int, *, long: bool) -> Iterator[tuple[int, Check]]:
    yield from ((seed, check) for check in _targets(world))
    for kind in ("full", "lora"):
        folder = world.reference(kind).folder
        for name in [*sorted(path.name for path in (folder / "checkpoint").iterdir()), None]:
            yield seed, lambda k=kind, n=name: _poisoned(world, k, n)
        newest = max((folder / "resumable").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        names = sorted(path.name for path in newest.iterdir())
        for name in names if long else [name for name in names if name.endswith((".pt", ".pth"))]:
            yield seed, lambda k=kind, n=name: _resumed(world, k, n)
    for number, (name, content) in enumerate(DETOURS):
        yield seed, lambda n=number, f=name, c=content: _detour(world, n, f, c)
    for name in ("metrics.json", "manifest.json", "config.json", "history.jsonl", "predictions/test.parquet"):
        yield seed, lambda n=name: _poisoned_run(world, n)
    yield from ((seed, check) for check in hostile_strings.checks(world, long=long))
    yield from ((seed, check) for check in hostile_paths.checks(world))


def _targets(world: World) -> Iterator[Check]:
    folder = world.folder("hostile", "targets")
    for name, content in {**{f"own/{name}": text for name, text in OWN.items()}, "evil.py": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    mark = folder / "mark"
    (folder / "evil.py").write_text(EVIL.format(str(mark)))
    (folder / "evil.pickle").write_bytes(poison(mark))
    lines = []
    for line in TARGETS:
        words = line.split()
        data = [] if any(word.startswith("dataset=") for word in words) else ["dataset=files"]
        lines.append(["train", *words, *data, "dataset.train=nowhere.csv"])
    before = sorted(folder.rglob("*"))
    found = run_apart(lines, folder, FTCLF_SECRET="hf_secret")
    left = sorted(path for path in folder.rglob("*") if path not in before and "runs" not in path.parts)
    yield lambda: f"left {left}" if left else ""
    for words, ended in zip(lines, found, strict=True):
        yield lambda w=words, e=ended: _silent(w, e)


def _silent(words: list[str], ended: Ended) -> str:
    problem = one_line(ended)
    if not problem and ("hf_secret" in ended.out or "got 'hf_secret" in ended.said):
        problem = "the secret was printed"
    return f"{' '.join(words)}: {problem}" if problem else ""


class Poison:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.mark), "w")


def poison(mark: Path, *, as_torch: bool = False) -> bytes:
    """Return a pickle whose loading makes a file."""
    if not as_torch:
        return pickle.dumps({"state": Poison(mark)})
    import io

    import torch

    file = io.BytesIO()
    torch.save({"state": Poison(mark)}, file)
    return file.getvalue()


def _poisoned(world: World, kind: str, name: str | None) -> str:
    """Put a pickle in a file's place, or beside all of them, with its hash in the list; then score with it."""
    folder, mark = (
        world.folder("hostile", "poisoned", kind, str(name)),
        world.folder("hostile", "marks", kind, str(name)),
    )
    shutil.copytree(world.reference(kind).folder / "checkpoint", folder)
    for one in [name] if name else BESIDE:
        (folder / one).write_bytes(poison(mark, as_torch=one.endswith((".bin", ".pt", ".pth"))))
    if name != "files.json":
        sealed(folder)
    ended = run(["eval", f"checkpoint={folder}"], mark.with_suffix(".eval"))
    harmless = name in (None, "README.md", "adapter_config.json")
    return _unharmed(f"{kind} {name}", ended, mark, allowed=(0,) if harmless else (0, 3) if "config" in name else (3,))


def _resumed(world: World, kind: str, name: str) -> str:
    """Put a pickle in the place of a file of every checkpoint that a run goes on from."""
    folder, mark = world.folder("hostile", "resumed", kind, name), world.folder("hostile", "marks", "r", kind, name)
    shutil.copytree(world.reference(kind).folder, folder)
    shutil.rmtree(folder / "checkpoint")
    (folder / "metrics.json").unlink()
    for checkpoint in (folder / "resumable").iterdir():
        (checkpoint / name).write_bytes(poison(mark, as_torch=name.endswith((".pt", ".pth"))))
        if name != "files.json":
            sealed(checkpoint)
    ended = run(world.words(kind, folder, "training.keep_checkpoints=true"), mark.with_suffix(".out"))
    return _unharmed(f"resume {kind} {name}", ended, mark, allowed=(0, 2, 3))


def _detour(world: World, number: int, name: str, content: dict[str, Any]) -> str:
    """Name code in the json files of a checkpoint and of a base model."""
    kind = "lora" if name == "adapter_config.json" and "peft_type" not in content else "full"
    folder, mark = world.folder("hostile", "detours", number), world.folder("hostile", "marks", "detour", number)
    model = folder / "model"
    shutil.copytree(world.reference(kind).folder / "checkpoint", folder / "checkpoint")
    shutil.copytree(world.root / "models" / "bert", model)
    for place in (folder / "checkpoint", model):
        path = place / name
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **content}))
        (place / "evil.py").write_text(EVIL.format(str(mark)))
    sealed(folder / "checkpoint")
    for words in (
        ["eval", f"checkpoint={folder / 'checkpoint'}"],
        [*world.words("full", folder / "run", "training.max_steps=1", "training.eval_steps=1", f"model.name={model}")],
    ):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        if problem := _unharmed(f"{words[0]} {name} {content}", run(words, folder / words[0]), mark, (0, 2, 3)):
            return problem
    return ""


def _poisoned_run(world: World, name: str) -> str:
    folder, mark = world.folder("hostile", "runs", name, "run"), world.folder("hostile", "marks", "runs", name)
    shutil.copytree(world.reference("lora").folder, folder, ignore=shutil.ignore_patterns("resumable"))
    (folder / name).write_bytes(poison(mark))
    for words in (["report", str(folder)], ["compare", str(folder)]):
        if problem := _unharmed(f"{words[0]} {name}", run(words, mark.with_suffix(".out")), mark, (0, 2)):
            return problem
    return ""


def _unharmed(what: str, ended: tuple[int, str], mark: Path, allowed: tuple[int, ...]) -> str:
    code, said = ended
    errors = [line for line in said.splitlines() if not line.startswith("warning: ")]
    if mark.exists():
        return f"{what}: code was run"
    if code not in allowed or len(errors) != (code != 0) or "weights_only" in said or "a bug in" in said:
        return f"{what}: ended with {code}: {said}"
    return ""


def sealed(folder: Path) -> None:
    """List the files of a folder as if ftclf had written them."""
    from ftclf.storage.durable import seal

    seal(folder)
