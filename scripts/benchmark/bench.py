"""What every measurement is given: rows, weights, folders, and how the two sides are run in turn."""

from __future__ import annotations

import itertools
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from benchmark import material
from benchmark.process import Done, FailedError, run

PEERS = Path(__file__).with_name("peers")
ROOT = Path(__file__).resolve().parents[2]
# They are no dependencies of ftclf: an environment for them is made when a row asks for one.
PEER_PACKAGES = ("setfit==1.2.0", "fasttext-numpy2-wheel==0.9.2")
TRAIN_ROWS, FEW_ROWS = 3200, 256  # a training that is timed; its validation and its test


@dataclass(frozen=True)
class Side:
    """One way to do the work: a command, and the steps of its training that are not timed."""

    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    warm_up: int = 10


@dataclass
class Bench:
    """One invocation of the benchmark."""

    folder: Path  # temporary: everything that is made lies in it
    device: str  # cpu or cuda
    rounds: int
    quick: bool  # the short form: less of everything
    say: Callable[[str], None]
    given: Path | None = None  # weights to use instead of the default's

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        on_gpu = self.device == "cuda"  # a few steps take no time there: all rows of train, and more steps
        self.train_rows: int | None = None if on_gpu else TRAIN_ROWS
        self.times = 8 if on_gpu else 1
        self.rows = cache(self._rows)
        self.weights = cache(self._weights)
        self.distilbert_size = cache(self._distilbert_size)
        self.peer_python = cache(self._peer_python)

    def fresh(self, name: str) -> Path:
        """Return a folder that nothing has used; it is not made yet."""
        return self.folder / f"{next(self._numbers)}-{name}"

    @property
    def environment(self) -> dict[str, str]:
        """Caches of its own, warm after the first run, and no GPU where the CPU is measured."""
        caches = {"FTCLF_CACHE": "ftclf", "HF_HOME": "huggingface", "HF_DATASETS_CACHE": "datasets"}
        hidden = {} if self.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
        return {name: str(self.folder / "cache" / value) for name, value in caches.items()} | hidden

    def _rows(self, *counts: int | None) -> material.Rows:
        """Return GoEmotions with so many rows of train, validation and test; what a timed training has if none are."""
        return material.go_emotions(self.fresh("rows"), *(counts or (self.train_rows, FEW_ROWS, FEW_ROWS)))

    def _weights(self) -> Path:
        """Return the folder of the weights that ftclf would take, for the peers to load the same."""
        if self.given:
            return self.given
        from ftclf.cli.compose import checked_jobs, parse, register
        from ftclf.model.base_weights import find_weights

        register()
        (job,) = checked_jobs("train", parse(["model=minilm"]))
        return find_weights(job.model).folder

    def _distilbert_size(self) -> Path:
        """Return a folder of DistilBERT's architecture with random weights: its speed is that of its own."""
        folder = self.fresh("distilbert")
        self.run(Side((sys.executable, "-m", "benchmark.distilbert", str(self.weights()), str(folder))))
        return folder

    def _peer_python(self) -> str:
        """Return a Python that sees this one's packages and those of the peers besides."""
        folder = self.folder / "peer_environment"
        venv.create(folder, with_pip=True)
        here = sysconfig.get_path("purelib")
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "outer.pth").write_text(f"{here}\n", encoding="utf-8")
        python = str(folder / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*install, "--constraint", str(ROOT / "constraints.txt"), *PEER_PACKAGES], capture_output=True, text=True
        )
        if done.returncode:
            raise FailedError(f"pip install {' '.join(PEER_PACKAGES)}: {done.stderr.strip().splitlines()[-1][:200]}")
        return python

    def ftclf(self, *words: str, rows: material.Rows | None = None, warm_up: int = 10) -> Side:
        """Return the command ftclf, on some rows."""
        return Side((sys.executable, "-m", "ftclf", *words), {} if rows is None else rows.environment, warm_up)

    def train(self, *words: str, rows: material.Rows | None = None, folder: Path | None = None) -> Side:
        """Return `ftclf train` as a user types it, without the baselines, which belong to no training."""
        where = [f"run_dir={folder or self.fresh('run')}"]
        if self.given and not any(word.startswith("model.name=") for word in words):
            where.append(f"model.name={self.given}")
        return self.ftclf("train", "baselines=[]", *where, *words, rows=rows)

    def peer(self, script: str, *words: str, warm_up: int = 10, python: str = sys.executable) -> Side:
        """Return a peer's script. Everything it loads is a folder: without this it would ask the hub all the same."""
        return Side((python, str(PEERS / script), *words), {"HF_HUB_OFFLINE": "1"}, warm_up)

    def run(self, side: Side, *, clock: Mapping[str, str] | None = None, expect: int = 0) -> Done:
        environment = {**self.environment, **side.environment}
        done = run(side.words, environment, clock=clock, warm_up=side.warm_up, expect=expect)
        shown = [word for word in side.words[1:] if not word.startswith(("-m", "run_dir=", "baselines="))]
        names = " ".join(Path(word).name if word.startswith("/") else word for word in shown)
        self.say(f"    {done.seconds:6.1f} s  {done.peak_mb:5.0f} MB  {names[:100]}")
        return done

    def in_turn(
        self, ours: Callable[[], Side], peer: Callable[[], Side], *, clock: Mapping[str, str] | None = None
    ) -> tuple[list[Done], list[Done]]:
        """Run both sides in turn, each in a process of its own: ours, peer, ours, peer ..."""
        found: tuple[list[Done], list[Done]] = ([], [])
        for _ in range(self.rounds):
            for side, done in zip((ours, peer), found, strict=True):
                done.append(self.run(side(), clock=clock))
        return found
