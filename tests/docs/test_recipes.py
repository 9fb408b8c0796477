"""The recipes of docs/architecture.md work: each is followed in a copy of the source, in the files that it names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOW_TO_ADD = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## How to add\n")[2]


def copied(folder: Path) -> Path:
    """Copy what recipes may edit."""
    leave_out = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("src", "configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    shutil.copy(ROOT / "README.md", folder)
    return folder


def named_in(recipe: str) -> set[str]:
    """Return the files and folders that a recipe of the docs names, from the top of the repository."""
    text = re.search(rf"^\*\*{re.escape(recipe)}\*\*: ?(.*?)(?=^\*\*|\Z)", HOW_TO_ADD, re.MULTILINE | re.DOTALL)
    assert text, f"no recipe **{recipe}**"
    names = re.findall(r"`([\w./]+)`", text[1])
    within = {name: f"src/ftclf/{name}" if (ROOT / "src" / "ftclf" / name).is_file() else name for name in names}
    return {path for path in within.values() if (ROOT / path).exists()}


@dataclass
class Recipe:
    """A recipe of the docs, followed in a copy of the repository: every file that it names is edited, and no other."""

    name: str
    copy: Path
    edited: set[str] = field(default_factory=set)

    def edit(self, path: str, before: str, after: str) -> None:
        """Replace a text of a file, which stands in it once."""
        content = (self.copy / path).read_text(encoding="utf-8")
        assert content.count(before) == 1, f"{path} has {before!r} {content.count(before)} times"
        (self.copy / path).write_text(content.replace(before, after), encoding="utf-8")
        self.edited.add(path)

    def add_behind(self, path: str, line: str, added: str) -> None:
        """Add text behind a line of a file."""
        self.edit(path, f"{line}\n", f"{line}\n{added}")

    def write(self, folder: str, name: str, content: str) -> None:
        """Write a new file into a folder."""
        (self.copy / folder / name).write_text(content, encoding="utf-8")
        self.edited.add(folder)

    def python(self, *words: str, **environment: str) -> str:
        """Run Python with the copy of the source, and return what it prints. Fails with what it says of an error."""
        path = os.pathsep.join(str(self.copy / name) for name in ("src", "tests"))
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=self.copy,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ftclf(self, *words: str) -> str:
        return self.python("-m", "ftclf", *words)


def follow(name: str, folder: Path) -> Recipe:
    """Begin to follow a recipe."""
    recipe = Recipe(name, copied(folder))
    where = recipe.python("-c", "import ftclf; print(ftclf.__file__)")
    assert where.strip() == str(folder / "src" / "ftclf" / "__init__.py")
    return recipe


def test_a_command(tmp_path: Path) -> None:
    recipe = follow("A command", tmp_path)
    recipe.edit(
        "src/ftclf/cli/main.py",
        "COMMANDS = {\n",
        'def hello_command(words: list[str]) -> int:\n    print("hello", *words)\n    return 0\n\n\n'
        'COMMANDS = {\n    "hello": Command("greet whoever is named", hello_command),\n',
    )
    recipe.add_behind("src/ftclf/cli/completion.py", "OPTIONS = {", '    "hello": ("--help", "--loud"),\n')
    recipe.add_behind(
        "README.md",
        "    ftclf train --help                                         # every setting",
        "    ftclf hello you\n",
    )
    assert recipe.edited == named_in(recipe.name)

    assert recipe.ftclf("hello", "you") == "hello you\n"
    assert re.search(r"^ *hello +greet whoever is named$", recipe.ftclf("--help"), re.MULTILINE)
    assert recipe.ftclf("completion", "--candidates", "he") == "hello\n"
    assert recipe.ftclf("completion", "--candidates", "hello", "--l") == "--loud\n"
    assert "README.md\n" in recipe.ftclf("completion", "--candidates", "hello", "READ")


def test_a_data_set(tmp_path: Path) -> None:
    recipe = follow("A data set", tmp_path)
    recipe.write(
        "configs/dataset",
        "tickets.yaml",
        "name: tickets\nabout: 30 support tickets, 3 queues\nfolder: support\ntrain: rows.csv\n"
        "text_column: subject\nlabel_column: queue\nmax_length: 64\n",
    )
    assert recipe.edited == named_in(recipe.name)

    rows = "".join(f"the {word} of order {number},{word}\n" for number in range(10) for word in ("bill", "lid", "box"))
    (tmp_path / "data" / "support").mkdir(parents=True)
    (tmp_path / "data" / "support" / "rows.csv").write_text(f"subject,queue\n{rows}")
    assert re.search(r"^ *tickets +30 support tickets, 3 queues$", recipe.ftclf("ls", "dataset"), re.MULTILINE)
    probe = "import ftclf; from ftclf.data import load_data; data = load_data(ftclf.compose('dataset=tickets').dataset)"
    probe += "; print(data.name, sorted(data.label_names), sum(len(split) for split in data.splits.values()))"
    environment = {"FTCLF_DATA": str(tmp_path / "data"), "FTCLF_CACHE": str(tmp_path / "cache")}
    assert recipe.python("-c", probe, **environment) == "tickets ['bill', 'box', 'lid'] 30\n"


TRAIN = """
import sys
from pathlib import Path
from conftest import make_rows, tiny_words, write_csv
from ftclf.cli.main import run
from many_models import make_many

model = make_many(Path("models"), "ernie")["ernie"]
rows = write_csv(Path("rows.csv"), make_rows(60))
few = ("training.max_steps=1", "training.device=cpu", "dataset.max_length=32", "baselines=[]")
sys.exit(run(tiny_words(model, rows, Path("run"), "method=lora", "method.targets=attention", *few)))
"""


@pytest.mark.slow
def test_an_architecture_with_lora(tmp_path: Path) -> None:
    recipe = follow("An architecture with LoRA", tmp_path)
    recipe.add_behind("src/ftclf/model/architectures.py", "ARCHITECTURES = {", '    "ernie": _with_blocks(BERT),\n')
    recipe.add_behind(
        "tests/many_models.py",
        "MANY: dict[str, tuple[str, dict[str, Any], str]] = {",
        '    "ernie": ("ErnieConfig", {**BLOCKS, "max_position_embeddings": 64}, "another embedding, for tasks"),\n',
    )
    assert recipe.edited == named_in(recipe.name)

    said = recipe.python("-c", TRAIN, FTCLF_CACHE=str(tmp_path / "cache"))
    assert "engine cpu_blocks" in said
    adapter = (tmp_path / "run" / "checkpoint" / "adapter_config.json").read_text(encoding="utf-8")
    assert all(layer in adapter for layer in ("attention.self.query", "attention.output.dense"))


FEW = """
import sys
from pathlib import Path
from conftest import make_models, make_rows, tiny_words, write_csv
from ftclf.cli.main import run

make_models(Path("models"), ("bert",))
rows = write_csv(Path("rows.csv"), [row for n, row in enumerate(make_rows(90)) if n % 3 or n < 30])
few = ("training.max_steps=1", "training.device=cpu", "dataset.max_length=32", "baselines=[]")
sys.exit(run(tiny_words(Path("models/bert"), rows, Path("run"), *sys.argv[1:], *few)))
"""


@pytest.mark.slow
def test_a_loss(tmp_path: Path) -> None:
    recipe = follow("A loss", tmp_path)
    recipe.edit(
        "src/ftclf/config/settings.py",
        "LOSSES: dict[str, type[LossConfig]] = {\n",
        "@dataclass(kw_only=True)\nclass PolyLossConfig(LossConfig):\n"
        '    epsilon: float = setting(1.0, "weight of the first term", low=0, high=10)\n\n\n'
        'LOSSES: dict[str, type[LossConfig]] = {\n    "poly": PolyLossConfig,\n',
    )
    recipe.add_behind("src/ftclf/config/settings.py", "LOSS_TASKS = {", '    "poly": "single_label",\n')
    recipe.edit(
        "src/ftclf/training/losses.py",
        '        if kind == "focal":  # Lin et al. 2017, equation 4\n',
        '        if kind == "poly":  # Leng et al. 2022, equation 6\n'
        '            losses = functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)\n'
        "            return (losses + config.epsilon * (1 - torch.exp(-losses))).sum()\n"
        '        if kind == "focal":  # Lin et al. 2017, equation 4\n',
    )
    recipe.write("configs/loss", "poly.yaml", "defaults:\n  - poly_schema\nkind: poly\nabout: one more term\n")
    assert recipe.edited == named_in(recipe.name) - {
        "tests/unit/training/test_losses.py",
        "tests/fast/test_recorded.py",
    }

    assert re.search(r"^ *poly +one more term$", recipe.ftclf("ls", "loss"), re.MULTILINE)
    cache = {"FTCLF_CACHE": str(tmp_path / "cache")}
    recipe.python("-c", FEW, "loss=poly", "loss.epsilon=2", **cache)
    stored = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["loss"]
    assert (stored["kind"], stored["epsilon"]) == ("poly", 2.0)


@pytest.mark.slow
def test_an_augmentation_step(tmp_path: Path) -> None:
    recipe = follow("An augmentation step", tmp_path)
    recipe.edit(
        "src/ftclf/config/settings.py",
        "AUGMENTS: dict[str, type[AugmentConfig]] = {\n",
        "@dataclass(kw_only=True)\nclass ShoutAugmentConfig(LevelledConfig):\n"
        '    marks: int = setting(1, "exclamation marks", low=1, high=9)\n\n\n'
        'AUGMENTS: dict[str, type[AugmentConfig]] = {\n    "shout": ShoutAugmentConfig,\n',
    )
    recipe.edit(
        "src/ftclf/data/augment/steps.py",
        "STEPS: dict[str, Step] = {\n",
        "def shouted(rows, material, random):\n"
        '    mark = "!" * material.config.marks\n'
        '    texts = [f"oh {random.randrange(999)} {material.texts[row]}{mark}" for row in rows]\n'
        '    return [Draft(text, (row,), "shouted") for row, text in zip(rows, texts, strict=True)]\n'
        '\n\nSTEPS: dict[str, Step] = {\n    "shout": shouted,\n',
    )
    recipe.edit(
        "src/ftclf/data/augment/steps.py",
        "from ftclf.data.augment.draft import Step\n",
        "from ftclf.data.augment.draft import Draft, Step\n",
    )
    recipe.write("configs/augment", "shout.yaml", "defaults:\n  - shout_schema\nkind: shout\nabout: louder rows\n")
    beside = {"data/augment/level.py", "training/augment.py"}
    beside = {f"src/ftclf/{name}" for name in beside} | {"tests/unit/data/test_augment_steps.py"}
    assert recipe.edited == named_in(recipe.name) - beside

    assert re.search(r"^ *shout +louder rows$", recipe.ftclf("ls", "augment"), re.MULTILINE)
    said = recipe.python("-c", FEW, "augment=shout", "augment.marks=3", FTCLF_CACHE=str(tmp_path / "cache"))
    assert "augment=shout: " in said
    lines = (tmp_path / "run" / "augmented.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    assert all(json.loads(line)["text"].endswith("!!!") for line in lines)


@pytest.mark.slow
def test_a_metric(tmp_path: Path) -> None:
    recipe = follow("A metric", tmp_path)
    recipe.add_behind(
        "src/ftclf/score/metrics.py",
        '            "accuracy": exact,',
        '            "macro_precision": ratio(self.hits, self.given).mean(axis=1),\n',
    )
    recipe.edit(
        "src/ftclf/score/task.py",
        '("accuracy", "macro_f1", "rare_f1", "micro_f1", "weighted_f1", "log_loss")\n',
        '("accuracy", "macro_f1", "rare_f1", "micro_f1", "weighted_f1", "log_loss", "macro_precision")\n',
    )
    beside = {"src/ftclf/config/settings.py", "tests/unit/score/test_metrics.py"}
    assert recipe.edited == named_in(recipe.name) - beside

    recipe.python("-c", FEW, FTCLF_CACHE=str(tmp_path / "cache"))
    test = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["test"]
    low, high = test["intervals"]["macro_precision"]
    assert low <= test["macro_precision"] <= high


def test_every_recipe_names_files_that_exist() -> None:
    names = re.findall(r"^\*\*(.+?)\*\*:", HOW_TO_ADD, re.MULTILINE)
    assert {"A command", "A data set", "An architecture with LoRA"} <= set(names)
    assert [name for name in names if not named_in(name)] == []
