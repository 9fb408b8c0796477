"""What a user types and what comes back: exit codes, one line for each mistake, nothing written by a mistake."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from conftest import tiny_words, write_csv
from ftclf import __version__
from ftclf.cli.help import USUAL
from ftclf.cli.hydra_errors import setting_names
from ftclf.cli.ls import GROUPS
from ftclf.cli.main import COMMANDS, run
from ftclf.storage.run_folder import Run

pytestmark = pytest.mark.usefixtures("no_pictures")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def fresh(*words: str) -> tuple[int, str, str, float]:
    """Run the command in a process of its own; return code, stdout, stderr and seconds."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "ftclf", *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr, time.perf_counter() - start


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ftclf {__version__}\n"


def test_a_mistyped_command_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trian"]) == 2
    assert lines(capsys)[0].endswith("Did you mean 'train'?")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dataset=go_emotion"], "error: dataset: got 'go_emotion', allowed: bbc_news"),
        (["dataset=/a/new.csv"], "error: dataset: got '/a/new.csv', allowed: bbc_news"),
        (["dataset=./new.csv"], "; write dataset=files dataset.train=./new.csv"),
        (["dataset=go_emotion"], "Did you mean 'go_emotions'?"),
        (["training.epochz=3"], "error: training.epochz: no such setting. Did you mean 'training.epochs'?"),
        (["+lrr=1"], "error: lrr: no such setting."),
        (["training.lr=3"], "error: training.lr: no such setting; write training.learning_rate=3"),
        (["num_train_epochs=3"], "error: num_train_epochs: no such setting; write training.epochs=3"),
        (["+training.seeed=1"], "error: training.seeed: no such setting. Did you mean 'training.seed'?"),
        (["training.epochs=abc"], "error: training.epochs: got 'abc', allowed: a number"),
        (["training.seed=1.5"], "error: training.seed: got '1.5', allowed: a whole number"),
        (["training.keep_checkpoints=perhaps"], "allowed: true or false"),
        (["method.r=0"], "error: method.r: got 0, allowed: from 1 to 1024"),
        (["method=full", "method.r=3"], "error: method.r: method=full has no such setting; it is one of method=lora"),
        (["method.r=4,8"], "error: method.r: got several values (4,8); add -m"),
        (["sweep=lora_rank"], "describe a sweep; add -m to run it"),
        (["method=null"], "error: method: got null"),
        (["method.init=orthogonal", "method.r=3"], "error: method.r: got 3, allowed with method.init=orthogonal: even"),
        (["dataset.label_columns=[a,b]"], "error: dataset.label_columns: a column a label is for several labels a row"),
        (["training.metric=macro_average_precision"], "allowed with dataset.task=single_label: accuracy, macro_f1"),
        (["~method"], "error: ~method: a setting cannot be taken away"),
        (["dataset=files", "dataset.train=it's.csv"], "error: it's.csv: no such file."),
        (["baselines=tfidf"], "error: baselines: got 'tfidf', allowed: a list, as in 'baselines=[a,b]'"),
        (["foo"], "error: foo: not an assignment; write setting=value, without spaces."),
        (["name=a=b"], "error: name: got 'a=b', allowed: letters"),
        (["--config-dir", "nowhere"], "error: --config-dir: no folder nowhere"),
        (["hydra.job_logging._target_=os.system"], "configs name no code to run"),
        (["+hydra.callbacks.x={_target_:os.system}"], "configs name no code to run"),
        (["hydra.searchpath=[pkg://os]"], "error: hydra.searchpath: allowed: hydra/launcher and hydra/sweeper"),
        (["hydra.sweeper.params={a:[1]}"], "error: hydra.sweeper.params={a:[1]}: "),
        (["+hydra.launcherx.a=1"], "error: hydra.launcherx.a: allowed: hydra/launcher and hydra/sweeper"),
        (["-m", "training.seed=interval(1,9)"], "interval is for a hydra/sweeper that searches it; write "),
        (["-m", "--cfg", "job"], "error: --run, --multirun, --cfg, --info: allowed: one of them"),
        (["hydra.sweeper.max_batch_size=${training.seed}"], "max_batch_size: got '${training.seed}', allowed: a value"),
        (["--experimental-rerun", "x.pickle"], "error: --experimental-rerun: allowed: --config-dir"),
        (["--nonsense"], "error: unrecognized arguments: --nonsense"),
        (["name=${oc.env:HOME}"], "error: name: got '${oc.env:...}', allowed: a value"),
        (["name=${name}"], "error: name: got an interpolation that leads nowhere"),
        (["name=.."], "error: name: got '..', allowed: letters"),
        (["run_dir='a\nb'"], "error: run_dir: got 'a\\nb', allowed: a path"),
        (["training.seed=4294967295", "training.seeds=2"], "allowed with training.seeds=2: up to 4294967294"),
        (["training.extra.adam_beta1=1"], "error: training.extra.adam_beta1: got 1, allowed: from 0 to 0.99999"),
        (["training.extra.hub_token=x"], "ftclf uploads nothing and keeps no tokens"),
        (["method.learning_rate=0"], "error: method.learning_rate: got 0.0, allowed: above 0 to 10"),
        (["dataset=files"], "error: dataset.train: not given"),
        (["dataset=files", "dataset.train=nope.csv"], "error: nope.csv: no such file."),
        (["training.extra.output_dir=x"], "error: training.extra.output_dir: ftclf sets it itself"),
        (["resume=nowhere"], "error: resume: nowhere holds no run"),
        (["resume=nowhere", "dataset=files"], "error: resume: nowhere holds no run"),
        (["+resume=nowhere"], "error: resume: nowhere holds no run"),
        (["model.package=json", "model.name=a/b"], "error: model.package: no model.safetensors in "),
        (["model.package=no-such-one", "model.name=a/b"], "no-such-one is not installed; pip install no-such-one"),
        (["model.name=./nowhere"], "error: model.name: no folder nowhere."),
    ],
)
def test_a_mistake_in_a_config_is_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", *words]) == 2
    found = lines(capsys)
    assert len(found) == 1
    assert expected in found[0]
    assert not list(tmp_path.iterdir())


def test_a_run_that_never_began_takes_back_the_folders_that_it_made_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ftclf.training.run

    monkeypatch.chdir(tmp_path)
    words = ["train", "dataset=files", "dataset.train=nope.csv"]
    Path("there").mkdir()
    for more in (["run_dir=there/run"], ["run_dir=new/run"], ["runs_dir=there"], ["runs_dir=new"]):
        assert run([*words, *more]) == 2
        assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]
    monkeypatch.setattr(ftclf.training.run, "load_data", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert run(["train", "runs_dir=new"]) == 143
    assert not Path("new").exists()


def test_all_mistakes_of_a_config_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "training.epochs=abc", "training.seed=-1", "method=lor", "+lrr=2"]) == 2
    assert len(lines(capsys)) == 4


def test_every_job_of_a_sweep_is_checked_before_the_first_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "-m", "method.r=4,8,0,-2"]) == 2
    assert lines(capsys) == [
        "error: method.r: got 0, allowed: from 1 to 1024",
        "error: method.r: got -2, allowed: from 1 to 1024",
    ]
    assert not list(tmp_path.iterdir())


def test_a_typo_in_a_config_of_the_users_own_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("name: mine\ntrain: x.csv\ntext_colum: body\n")
    assert run(["train", "--config-dir", str(tmp_path), "dataset=mine"]) == 2
    (line,) = lines(capsys)
    assert "text_colum: no such setting" in line
    assert "Did you mean 'dataset.text_column'?" in line


def test_an_option_that_a_file_chooses_is_named_as_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    content = "# @package _global_\ndefaults:\n  - override /dataset: nope\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    assert run(["train", "--config-dir", str(tmp_path), "experiment=mine"]) == 2
    assert lines(capsys)[0].startswith("error: dataset: got 'nope', allowed: bbc_news")


BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
RUNS = "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
LOGS = "handlers: {x: {class: os.system}}\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("dataset/mine", "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}\n", "hydra.callbacks.x"),
        ("dataset/mine", "# @package _global_\nhydra: {mode: MULTIRUN}\n", "hydra.mode: allowed: "),
        ("dataset/mine", "name: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("dataset/mine", "# @package hydra.sweeper\nmax_batch_size: 2\n", "hydra.sweeper.max_batch_size: allowed: "),
        ("hydra/launcher/mine", "_target_: hydra_plugins.none.L\n", "allowed: installed plugins of Hydra"),
        ("hydra/launcher/mine", "_target_: os.system\n", "got 'os.system', allowed: installed plugins of Hydra"),
        ("hydra/launcher/mine", "x: {_target_: os.system}\n", "launcher.x._target_: got 'os.system', allowed"),
        ("hydra/launcher/mine", RUNS + "x: ${oc.create:{_target_:os.system}}\n", "launcher.x: got '${oc.create:"),
        ("hydra/launcher/mine", RUNS + "x: {a: {b: 1}, a.b: 2}\n", "hydra.launcher.x.a.b: there twice"),
        ("hydra/launcher/mine", f"# @package hydra.job_logging\n{LOGS}", "hydra.job_logging.handlers.x.class: allowed"),
        ("experiment/mine", "# @package hydra.sweeper.params\nhydra.job_logging.x: 1\n", "params.hydra.job_logging.x"),
        ("experiment/mine", "# @package hydra.sweeper.params\nseed: ${name}\n", "params.seed: got '${name}', allowed"),
    ],
)
def test_a_config_of_someone_else_runs_no_code(
    name: str, content: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    for more in ([], ["-m"], ["--cfg", "job"]):
        assert run(["train", *more, "--config-dir", str(tmp_path), name.replace("/mine", "=mine")]) == 2
        (line,) = lines(capsys)
        assert expected in line


def test_the_command_line_alone_chooses_a_launcher_which_may_run_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in {
        "dataset/chooses": "# @package _global_\ndefaults: [{override /hydra/launcher: mine}]\n",
        "dataset/sets": "# @package hydra.launcher\nsetup: [touch /tmp/x]\n",
        "hydra/launcher/mine": f"{RUNS}setup: [module load python]\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(content)
    words = ["train", "--config-dir", str(tmp_path), "--cfg", "job"]
    assert run([*words, "dataset=chooses"]) == 2
    assert "hydra/launcher and hydra/sweeper, with their settings, on the command line" in lines(capsys)[0]
    assert run([*words, "dataset=sets", "hydra/launcher=mine"]) == 2
    assert "hydra.launcher.setup.0: allowed: hydra/launcher and" in lines(capsys)[0]
    assert run([*words, "hydra/launcher=mine", "hydra.launcher.setup=[module load torch]"]) == 0


@pytest.mark.filterwarnings(r"ignore:\s*'hydra.*' is validated")  # Hydra's word for a file in the way
def test_what_an_installed_sweeper_names_is_allowed_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ConfigStore.instance()
    node = {"_target_": BASIC_SWEEPER, "params": None, "sampler": {"_target_": "fractions.Fraction", "seed": None}}
    store.store(group="hydra/sweeper", name="searching", node=node)  # as a package does when Hydra finds its plugins
    store.store(group="hydra/sweeper/sampler", name="half", node={"_target_": "math.sqrt"})
    words = ["train", "--config-dir", str(tmp_path), "--cfg", "hydra", "hydra/sweeper=searching"]
    assert run([*words]) == run([*words, "+hydra/sweeper/sampler=half", "hydra.sweeper.sampler.seed=1"]) == 0
    assert "_target_: math.sqrt" in capsys.readouterr().out
    assert run([*words, "hydra.sweeper.sampler._target_=os.system"]) == 2
    assert "configs name no code to run" in lines(capsys)[0]
    for name, content in {
        "hydra/sweeper/sampler/half": "_target_: os.system\n",  # stands in the way of the package's
        "dataset/mine": "# @package hydra.sweeper.sampler\n_target_: os.system\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(content)
    for word in ("+hydra/sweeper/sampler=half", "dataset=mine"):
        assert run([*words, word]) == 2
        assert "hydra.sweeper.sampler._target_: got 'os.system', allowed: what the installed" in lines(capsys)[0]


PLUGIN = """
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Searching(Sweeper):
    def __init__(self, sampler, params):
        self.sampler = sampler

    def setup(self, **context):
        self.launcher = Plugins.instance().instantiate_launcher(**context)

    def sweep(self, arguments):
        jobs = [[f"training.learning_rate={float(self.sampler) / job}", *arguments[1:]] for job in (1, 2, 4)]
        return self.launcher.launch(jobs, initial_job_idx=0)

node = {"_target_": f"{__name__}.Searching", "params": None, "sampler": {"_target_": "fractions.Fraction"}}
ConfigStore.instance().store(group="hydra/sweeper", name="searching", node=node)
"""


@pytest.mark.slow
def test_a_sweeper_settles_itself_which_jobs_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "searching.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    interval = "training.learning_rate=interval(1e-4,1e-2)"
    words = [interval, "hydra/sweeper=searching", "+hydra.sweeper.sampler.numerator=0.01", f"run_dir={tmp_path / 'r'}"]
    code, _, err, _ = fresh("train", "-m", *words, "model.name=/nowhere")
    assert code == 1
    assert "error: sweep: 3 of 3 jobs failed\nerror: job 0 (training.learning_rate=0.01 run_dir=" in err


def test_a_data_set_of_the_users_own_is_one_yaml(tmp_path: Path, tiny_models: dict[str, Path], reviews: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(f"name: mine\ntrain: {reviews}\ndefault_epochs: 1\n")
    words = ["train", "--config-dir", str(tmp_path), "dataset=mine", f"model.name={tiny_models['bert']}"]
    assert run([*words, f"runs_dir={tmp_path / 'runs'}"]) == 0
    assert list((tmp_path / "runs" / "mine-bert-lora").glob("*/metrics.json"))


def test_options_may_stand_between_overrides_and_paths_hold_any_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "it's a folder"
    (odd / "dataset").mkdir(parents=True)
    (odd / "dataset" / "mine.yaml").write_text("name: mine\ntrain: nowhere.csv\n")
    monkeypatch.chdir(odd)
    assert run(["train", "dataset=mine", "--config-dir", str(odd), "method.r=2"]) == 2
    assert lines(capsys) == ["error: nowhere.csv: no such file."]
    assert run(["train", "dataset=mine", "-m", "method.r=2,4", "--config-dir", str(odd)]) == 1
    assert "sweep: 2 of 2 jobs failed" in capsys.readouterr().err


def test_cfg_job_prints_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--cfg", "job", "method=full"]) == 0
    assert "freeze_embeddings: false" in capsys.readouterr().out


def test_train_help_shows_groups_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"  dataset=bbc_news +bbc_news, dbpedia_14, files, go_emotions", shown)
    assert "  training.learning_rate=0.001 " in shown
    assert [line for line in shown.splitlines() if line in USUAL] == [*USUAL]
    assert set(re.findall(r"^  ([\w.]+)=", shown, re.MULTILINE)) == {name for names in USUAL.values() for name in names}


@pytest.mark.parametrize("command", ["train", "check", "eval", "predict", "compare", "report", "merge"])
def test_help_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80, max(shown, key=len)
    assert len(shown) <= (48 if command in ("train", "check") else 24)


@pytest.mark.parametrize("words", [["--help", "decision"], ["-h", "decision"], ["--help=decision"]])
def test_help_about_a_group_has_its_settings_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", *words]) == 0
    names = re.findall(r"^  ([\w.]+)=", capsys.readouterr().out, re.MULTILINE)
    assert names == [name for name in setting_names("train") if name.startswith("decision.")]


@pytest.mark.parametrize("command", ["train", "eval", "predict"])
def test_help_explains_every_setting_with_the_value_that_the_line_gives_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"train": "training.batch_size=7", "eval": "split=validation", "predict": "batch_size=7"}[command]
    assert run([command, given, "--help", "all"]) == 0
    shown = capsys.readouterr().out
    explained = set(re.findall(r"^  ([\w.]+)=", shown, re.MULTILINE))
    of_others = r"(method|loss|sampler|augment)\." if command != "eval" else r"(method|dataset)\."
    names = {name for name in setting_names(command) if not re.match(of_others, name)}
    assert {name for name in names - explained if not any(other.startswith(f"{name}.") for other in names)} <= {*GROUPS}
    assert f"  {given} " in shown
    assert "Hydra specific" not in shown


def test_help_names_a_wrong_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "spllit=test", "--help"]) == 2
    assert lines(capsys)[0] == "error: spllit: no such setting. Did you mean 'split'?"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"ftclf {command} " in capsys.readouterr().out


def test_eval_and_predict_say_that_sweeps_are_for_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "-m", "checkpoint=a,b"]) == 2
    assert "-m sweeps are for train" in lines(capsys)[0]


def test_eval_reads_the_rows_of_training_by_another_rule(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", f"checkpoint={trained.folder}", "dataset.test_size=0.3"]) == 0
    assert "% of these rows have texts that the checkpoint was trained on" in capsys.readouterr().err


def test_eval_needs_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval"]) == 2
    assert lines(capsys)[0].startswith("error: checkpoint: not given")
    assert run(["eval", "checkpoint=nowhere"]) == 2
    assert lines(capsys) == ["error: checkpoint: no folder nowhere"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["report"], "error: report: no run given; write ftclf report RUN"),
        (["completion", "zhs"], "error: completion: got 'zhs', allowed: bash, zsh, fish. Did you mean 'zsh'?"),
        (["eval", "checkpoint=empty"], "error: checkpoint: empty is neither a run folder nor a checkpoint"),
        (["eval", "checkpoint=begun"], "error: checkpoint: the run in begun is not finished and has no checkpoint"),
        (["eval", "begun"], "error: checkpoint: the run in begun is not finished and has no checkpoint"),
        (["predict", "a, 'folder'"], "error: checkpoint: no folder a, 'folder'"),
        (["eval", "checkpoint=begun", "output=file"], "error: checkpoint: the run in begun is not finished"),
        (["train", "run_dir=file"], "file is no folder; choose another name"),
        (["train", "run_dir=linked"], "log.txt is a link, allowed: a folder in which a run's names are its own"),
        (["train", "--config-dir", "broken"], "error: config: while parsing a flow node"),
        (["train", "--config-dir", "broken", "dataset=files"], "error: config: while parsing a flow node"),
        (["train", "--config-dir", "own", "experiment=mine"], "error: resume: allowed: on the command line alone"),
    ],
)
def test_a_mistake_in_any_command_is_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "file": "",
        "begun/config.json": "{}",
        "empty/x": "",
        "broken/train_schema.yaml": "[",
        "own/experiment/mine.yaml": "# @package _global_\nresume: begun\n",
    }.items():
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_text(content)
    Path("linked").mkdir()
    Path("linked/log.txt").symlink_to(tmp_path / "file")
    before = sorted(tmp_path.rglob("*"))
    assert run(words) == 2
    (line,) = lines(capsys)
    assert expected in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    assert run(["train", f"run_dir={tmp_path}"]) == 5
    assert lines(capsys)[0].startswith(f"error: run_dir: cannot write to {tmp_path}: ")
    assert not (tmp_path / "elsewhere").exists()


def test_an_installation_without_its_configs_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftclf.config.__file__", str(tmp_path / "a" / "b" / "c"))
    assert run(["ls"]) == 2
    assert "reinstall ftclf" in lines(capsys)[0]


def test_ls_shows_every_option_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls"]) == 0
    shown = capsys.readouterr().out
    assert "54,263 Reddit comments, 28 emotions\n" in shown
    assert run(["ls", "metod"]) == 2
    assert "Did you mean 'method'?" in lines(capsys)[0]


def test_an_error_of_the_system_is_one_line_with_exit_code_5(
    tmp_path: Path, tiny_models: dict[str, Path], reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(tiny_words(tiny_models["bert"], reviews, tmp_path / "file" / "run")) == 5
    assert len(lines(capsys)) == 1


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "bad.csv", [("fine text", "a"), ("other", "\x1b[31m"), ("", "b")])
    assert run(["train", "dataset=files", f"dataset.train={path}", f"runs_dir={tmp_path}"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_process_that_leaves_waits_for_its_threads_and_calls_what_is_registered() -> None:
    probe = """
import atexit, threading, time
from ftclf.system.process_exit import leave
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
leave(3)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "thread\nregistered\n", "")


@pytest.mark.parametrize(
    "words",
    [
        *("--version", "--help", "ls", "completion zsh", "completion --candidates train t", "compare --help"),
        *("train --help", "train --info", "train --info defaults", "train --cfg job", "eval --hydra-help"),
    ],
)
def test_nobody_need_read_what_a_command_prints(words: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m ftclf {words}"
    for output in (">&-", "| true"):
        done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} {output}"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), output


def test_nobody_need_read_an_error_either() -> None:
    command = f"{shlex.quote(sys.executable)} -m ftclf train epochz=1"
    for output in ("2>&1 | true", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} {output}"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, ""), output


def test_a_file_never_takes_the_place_of_a_stream_that_was_closed(tmp_path: Path) -> None:
    probe = "import os, sys; from ftclf.__main__ import _open_what_is_closed; _open_what_is_closed()"
    probe += (
        f"; file = open({str(tmp_path / 'file')!r}, 'w'); print('x', flush=True); os.write(1, b'y'); os.write(2, b'z')"
    )
    subprocess.run(["bash", "-c", f'{shlex.quote(sys.executable)} -c "{probe}" <&- >&- 2>&-'], check=True)
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("platform", ["win32", "cygwin", "emscripten"])
def test_other_systems_are_refused_in_one_line_before_anything_is_imported_that_they_lack(platform: str) -> None:
    probe = f"""
import sys
from ftclf.__main__ import main
sys.platform = {platform!r}
try:
    main()
finally:
    print({{"fcntl", "resource", "ftclf.cli.main"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "set()\n")
    assert done.stderr == f"error: ftclf runs on Linux and macOS, not on {platform}; on Windows use WSL\n"


@pytest.mark.slow
def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code, _, err, seconds = fresh("--help")
    assert (code, err) == (0, "")
    assert seconds < 0.7
    probe = "import sys; from ftclf.cli.main import run; run(['--help']); sys.exit('hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0


@pytest.mark.slow
def test_a_typo_is_answered_within_two_seconds_and_without_torch() -> None:
    code, _, err, seconds = fresh("train", "training.epochz=1")
    assert code == 2
    assert err.count("\n") == 1
    assert seconds < 2
    probe = "import sys; from ftclf.cli.main import run; run(['train', 'a.b=1']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0


@pytest.mark.slow
def test_training_imports_nothing_for_data_frames_other_metrics_optimisers_or_gpus_that_are_not_there() -> None:
    probe = """
import sys
from ftclf.system.imports import quiet_libraries
quiet_libraries()
import numpy as np
import ftclf.training.trainer, peft
trainer = ftclf.training.trainer
trainer.choosing_scores(np.eye(2, dtype=np.float32), trainer.Split([], np.arange(2)), np.zeros(2))
print(*{"datasets", "pandas", "sklearn", "scipy", "triton"} & set(sys.modules))
"""
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", probe], env=hidden, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.slow
def test_the_server_of_a_sweep_imports_nothing_for_data_frames_or_other_models() -> None:
    probe = "import sys, ftclf.cli.sweep_server; print(*{'datasets', 'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.slow
def test_a_run_prints_its_own_lines_and_nothing_of_the_libraries(
    tiny_models: dict[str, Path], reviews: Path, tmp_path: Path
) -> None:
    words = tiny_words(tiny_models["bert"], reviews, tmp_path / "run", "training.max_steps=2", "baselines=[majority]")
    code, out, err, _ = fresh(*words)
    assert (code, err) == (0, "")
    assert out.startswith("reviews: ")
    # data, model, weights, one evaluation, a table of scores, the headline, verdict, report, next command
    assert len([line for line in out.splitlines() if not line.startswith("baseline: ")]) == 17


@pytest.mark.parametrize(
    "words", ["{}", "train {}", "eval {}", "predict {} x", "report {}", "compare {}", "merge {} --output y"]
)
def test_a_name_that_is_too_long_for_a_file_is_a_mistake_of_the_user(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.format("x" * 300).split()) == 2
    (line,) = lines(capsys)
    assert len(line) < 250
