"""What people type from habit: done where it has one meaning, else answered by one line with what to type."""

from __future__ import annotations

import io
import os
import re
import shlex
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import write_csv
from ftclf.cli.compose import checked_jobs, parse, register
from ftclf.cli.hydra_errors import settings_of
from ftclf.cli.ls import GROUPS
from ftclf.cli.main import COMMANDS, run
from ftclf.cli.typed_words import settled
from ftclf.config.did_you_mean import ABSENT, NAMES, OTHER_COMMANDS, SWITCHES, SYNONYMS, instead
from ftclf.storage.run_folder import Run, checkpoint_of, find_runs, run_to_resume
from ftclf.system.errors import RunError

# What is typed, and the line that it stands for. RUN, FOLDER (of rows) and MODEL are folders.
DONE = [
    ("train tickets.csv", "train dataset=files dataset.train=tickets.csv"),
    ("train tickets.csv method=full", "train dataset=files dataset.train=tickets.csv method=full"),
    ("train FOLDER", "train dataset=files dataset.train=FOLDER"),
    (
        "train tickets.csv dataset=files label_column=stars",
        "train dataset=files dataset.train=tickets.csv dataset.label_column=stars",
    ),
    ("train --dataset go_emotions", "train dataset=go_emotions"),
    ("train --dataset=go_emotions --method full", "train dataset=go_emotions method=full"),
    ("train --epochs 3", "train training.epochs=3"),
    ("train --epochs=3 -m", "train -m training.epochs=3"),
    ("train --batch-size 16", "train training.batch_size=16"),
    ("train --learning-rate 1e-4", "train training.learning_rate=1e-4"),
    ("train --training.epochs 3", "train training.epochs=3"),
    ("train --seed 1 --weight-decay -0", "train training.seed=1 training.weight_decay=-0"),
    ("train --overwrite", "train overwrite=true"),
    ("train --overwrite method=head", "train overwrite=true method=head"),
    ("train --gradient-checkpointing true", "train training.gradient_checkpointing=true"),
    ("train epochs=3", "train training.epochs=3"),
    ("train -m r=4,8", "train -m method.r=4,8"),
    ("train batch_size=16 learning_rate=1e-4", "train training.batch_size=16 training.learning_rate=1e-4"),
    ("train seed=3 precision=bf16", "train training.seed=3 training.precision=bf16"),
    ("train r=8 alpha=16 targets=attention", "train method.r=8 method.alpha=16 method.targets=attention"),
    ("train text_column=x label_column=y", "train dataset.text_column=x dataset.label_column=y"),
    ("train test_size=0.1 max_length=256", "train dataset.test_size=0.1 dataset.max_length=256"),
    ("train weight_decay=0.1 warmup=0.1", "train training.weight_decay=0.1 training.warmup=0.1"),
    ("train early_stopping=3 max_steps=9", "train training.early_stopping=3 training.max_steps=9"),
    ("train task=multi_label rule=top_k k=2", "train dataset.task=multi_label decision.rule=top_k decision.k=2"),
    ("train device=cpu threads=1", "train training.device=cpu training.threads=1"),
    ("eval RUN", "eval checkpoint=RUN"),
    ("eval RUN tickets.csv", "eval checkpoint=RUN dataset=files dataset.test=tickets.csv"),
    (
        "eval RUN tickets.csv split=validation",
        "eval checkpoint=RUN dataset=files dataset.validation=tickets.csv split=validation",
    ),
    ("eval RUN validation", "eval checkpoint=RUN split=validation"),
    ("eval RUN --split validation --output scores", "eval checkpoint=RUN split=validation output=scores"),
    ("eval --checkpoint RUN --batch-size 8", "eval checkpoint=RUN batch_size=8"),
    ("eval split=test RUN", "eval checkpoint=RUN split=test"),
    ("predict RUN 'some text'", "predict checkpoint=RUN \"texts=['some text']\""),
    ("predict RUN 'some text' great", "predict checkpoint=RUN \"texts=['some text','great']\""),
    ("predict RUN tickets.csv", "predict checkpoint=RUN input=tickets.csv"),
    ("predict RUN tickets.csv --output x.csv", "predict checkpoint=RUN input=tickets.csv output=x.csv"),
    ("predict RUN --input tickets.csv --batch-size 8", "predict checkpoint=RUN input=tickets.csv batch_size=8"),
]
# What is typed, and what the one line of error tells to type, or says.
ANSWERED = [
    ("train tickets.csv b.csv", "write ftclf train dataset=files dataset.train=tickets.csv dataset.test=b.csv"),
    ("train my_test.csv a.csv dev.csv", "dataset.train=a.csv dataset.validation=dev.csv dataset.test=my_test.csv"),
    ("train tickets.csv dataset=go_emotions", "tickets.csv: dataset=go_emotions names rows too; drop one of the two"),
    ("train tickets.csv dataset.train=b.csv", "tickets.csv: dataset.train=b.csv names rows too; drop one of the two"),
    ("train RUN", "write resume=RUN"),
    ("train MODEL", "write model.name=MODEL"),
    ("train go_emotions", "write dataset=go_emotions"),
    ("train dataset go_emotions", "write dataset=go_emotions"),
    ("train epochs 3", "write epochs=3"),
    ("train mine.yaml", "write --config-dir FOLDER dataset=mine"),
    ("train help", "write ftclf train --help"),
    ("train foo", "foo: not an assignment; write setting=value"),
    ("train lr=1e-4", "write training.learning_rate=1e-4"),
    ("train --lr 1e-4", "write training.learning_rate=1e-4"),
    ("train --lr=1e-4", "write training.learning_rate=1e-4"),
    ("train training.lr=1e-4", "write training.learning_rate=1e-4"),
    ("train method.lr=1e-4", "write training.learning_rate=1e-4"),
    ("train training.batch=16", "write training.batch_size=16"),
    ("train --num_train_epochs 3", "write training.epochs=3"),
    ("train --per-device-train-batch-size 16", "write training.batch_size=16"),
    ("train --output_dir out", "write run_dir=out"),
    ("train output=out", "write run_dir=out"),
    ("train output_dir='my out'", "write 'run_dir=my out'"),
    ("train --model bert-base-uncased", "model.name=bert-base-uncased"),
    ("train model=bert-base-uncased", "model.name=bert-base-uncased"),
    ("train model=roberta-base", "model.name=roberta-base"),
    ("train model=MODEL", "model.name=MODEL"),
    ("train --model_name_or_path bert-base-uncased", "write model.name=bert-base-uncased"),
    ("train model=minlm", "Did you mean 'minilm'?"),
    ("train dataset=reviews.csv", "write dataset=files dataset.train=reviews.csv"),
    ("train dataset=tickets.csv", "write dataset=files dataset.train=tickets.csv"),
    ("train --train_file a.csv", "write dataset=files dataset.train=a.csv"),
    ("train data='my file.csv'", "write dataset=files 'dataset.train=my file.csv'"),
    ("train --validation_file a.csv", "write dataset.validation=a.csv"),
    ("train class_weights=true", "class_weights: no such setting; rare labels weigh more with loss=weighted"),
    ("train --class-weight balanced", "sampler=balanced"),
    ("train augmentation=edits", "write augment=edits"),
    ("train label_smoothing=0.1", "write loss=label_smoothing loss.smoothing=0.1"),
    ("train training.label_smoothing=0.1", "write loss=label_smoothing loss.smoothing=0.1"),
    ("train device=gpu", "training.device: got 'gpu', allowed: auto, cpu, cuda, mps; write training.device=cuda"),
    ("train training.device=gpu", "write training.device=cuda"),
    ("train device=cuda:0", "write training.device=cuda; CUDA_VISIBLE_DEVICES=0 in front of ftclf"),
    ("train device=cuda:1", "write training.device=cuda; CUDA_VISIBLE_DEVICES=1 in front of ftclf"),
    ("train --fp16", "write training.precision=fp16"),
    ("train fp16=true", "write training.precision=fp16"),
    ("train bf16=false", "write training.precision=fp32"),
    ("train precision=float16", "write training.precision=fp16"),
    ("train max_seq_length=256", "write dataset.max_length=256"),
    ("train lora_r=8", "write method.r=8"),
    ("train rank=8", "write method.r=8"),
    ("train lora_alpha=16", "write method.alpha=16"),
    ("train dropout=0.1", "write model.dropout=0.1 or method.dropout=0.1"),
    ("train --dropout 0.1", "write model.dropout=0.1 or method.dropout=0.1"),
    ("train method=peft", "write method=lora"),
    ("train method=adapter", "write method=lora"),
    ("train method=finetune", "write method=full"),
    ("train --use-lora", "write method=lora"),
    ("train freeze_encoder=true", "write method=head"),
    ("train --multi-label", "write dataset.task=multi_label"),
    ("train task=multilabel", "write dataset.task=multi_label"),
    ("train num_labels=3", "num_labels: no such setting; labels are counted in the training rows; leave it out"),
    ("train early_stopping_patience=3", "write training.early_stopping=3"),
    ("train warmup_ratio=0.1", "write training.warmup=0.1"),
    ("train warmup_steps=100", "training.warmup=0.06"),
    ("train report_to=wandb", "write 'training.trackers=[wandb]'"),
    ("train optimizer=adamw", "write training.optimizer=adamw_torch_fused"),
    ("train metric=f1", "write training.metric=macro_f1"),
    ("train --do_train --seed 1", "do_train: no such setting; validation and test are scored in every run"),
    ("train --random-state 7", "write training.seed=7"),
    ("train --resume_from_checkpoint RUN", "write resume=RUN"),
    ("train --epocs 3", "epocs: no such setting. Did you mean 'training.epochs'?"),
    ("train --nonsense", "unrecognized arguments: --nonsense"),
    ("eval", "checkpoint: not given; write ftclf eval RUN"),
    ("predict", "checkpoint: not given; write ftclf predict RUN"),
    ("eval tickets.csv", "the run stands first: ftclf eval RUN tickets.csv"),
    ("eval RUN tickets.csv dataset=go_emotions", "dataset=go_emotions names rows too; drop one of the two"),
    ("eval RUN --test_file tickets.csv", "write dataset=files dataset.test=tickets.csv"),
    ("eval RUN --output_dir out", "write output=out"),
    ("eval RUN split=dev", "write split=validation"),
    ("eval RUN split=a,b", "split: got several values (a,b); eval takes one"),
    ("eval RUN new", "new: no such file; ftclf eval RUN FILE scores the rows of a file"),
    ("predict 'some text'", "the run stands first: ftclf predict RUN 'some text'"),
    ("predict tickets.csv RUN", "the run stands first: ftclf predict RUN tickets.csv"),
    ("predict RUN tickets.csv new.csv", "allowed: one file, or texts"),
    ("predict RUN text input=tickets.csv", "input: given, and so is text; drop one of the two"),
    ("predict RUN --text 'some text'", "write 'texts=[some text]'"),
    ("predict RUN --data tickets.csv", "write input=tickets.csv"),
    ("predict RUN --output_dir x.csv", "write output=x.csv"),
    ("predict RUN threshold=0.5", "labels are decided as the checkpoint says"),
    ("predict RUN --device cuda", "the GPU is taken where there is one"),
    ("predict RUN batch_size=4,8", "batch_size: got several values (4,8); predict takes one"),
    ("serve RUN", "ftclf merge RUN output=FOLDER writes a folder"),
    ("export RUN", "ftclf merge RUN output=FOLDER writes a folder"),
    ("convert", "ftclf merge RUN output=FOLDER writes a folder"),
    ("evaluate RUN split=test", "write ftclf eval RUN split=test"),
    ("validate tickets.csv", "write ftclf check tickets.csv"),
    ("eda dataset=go_emotions", "write ftclf check dataset=go_emotions"),
    ("test RUN", "write ftclf eval RUN"),
    ("infer RUN 'some text'", "write ftclf predict RUN 'some text'"),
    ("fit", "write ftclf train"),
    ("finetune dataset=go_emotions", "write ftclf train dataset=go_emotions"),
    ("run", "write ftclf train"),
    ("sweep", "write ftclf train -m method.r=4,8,16"),
    ("list", "write ftclf ls"),
    ("datasets", "write ftclf ls"),
    ("config method=full", "write ftclf train --cfg job method=full"),
    ("info", "write ftclf train --help"),
    ("init", "write ftclf train FILE.csv"),
    ("resume RUN", "write ftclf train resume=RUN"),
    ("resume", "write ftclf train resume=RUN"),
    ("dataset=go_emotions", "the command stands first: ftclf train dataset=go_emotions"),
    ("--epochs 3", "the command stands first: ftclf train --epochs 3"),
    ("tickets.csv", "the command stands first: ftclf train tickets.csv"),
    ("trian", "Did you mean 'train'?"),
]


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run that is not finished, a file and a folder of rows, and a model."""
    monkeypatch.chdir(tmp_path)
    write_csv(Path("tickets.csv"), [("a", "b")])
    for name in ("RUN/config.json", "RUN/manifest.json", "MODEL/config.json", "FOLDER/sport/1.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    register()
    return tmp_path


@pytest.mark.parametrize(("typed", "meant"), DONE, ids=[typed for typed, _ in DONE])
def test_what_has_one_meaning_is_done(typed: str, meant: str, where: Path) -> None:
    command, *words = shlex.split(typed)
    found, notes = settled(command, words)
    assert settings(found) == settings(shlex.split(meant)[1:])
    completed = re.findall(r"(?:^| )(?:--)?([\w-]+)(?= |=)", typed)
    assert all(note.partition("=")[0] in {name.replace("-", "_") for name in completed} for note in notes)


def settings(words: list[str]) -> dict[str, str]:
    """Return the values that a command line gives, and whether it is a sweep."""
    args, grammar = parse(list(words)), OverridesParser.create()
    read = [grammar.parse_override(word) for word in args.overrides]
    quotes = r"QuotedString\(text='(.*?)', quote=<[^>]*>\)"
    return {"-m": str(args.multirun)} | {one.key_or_group: re.sub(quotes, r"\1", str(one._value)) for one in read}


def test_texts_are_labelled_as_they_are_typed(where: Path) -> None:
    texts = [
        "some text",
        "great",
        "it's, [so] {so}",
        "- one",
        "1+1=2",
        "a = b",
        "${oc.env:HOME}",
        'say "no"',
        "null",
        "x\\",
    ]
    found, _ = settled("predict", ["RUN", *texts])
    assert checked_jobs("predict", parse(found))[0].texts == texts


@pytest.mark.parametrize(("typed", "answer"), ANSWERED, ids=[typed for typed, _ in ANSWERED])
def test_what_has_none_is_answered_by_one_line_with_what_to_type(
    typed: str, answer: str, where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(where.rglob("*"))
    assert run(shlex.split(typed)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert answer in line
    assert sorted(where.rglob("*")) == before


@pytest.mark.parametrize(
    "words", [["--version"], ["-V"], ["version"], ["train", "--version"], ["eval", "r", "--version"]]
)
def test_the_version_is_printed_in_every_place(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    assert re.fullmatch(r"ftclf \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_in_every_place(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["help", command], ["--help", command], ["-h", command], [command, "-h"], [command, "x", "--help"]):
        if command in ("train", "check", "ls") and "x" in words:
            continue  # a word that they cannot take is named first
        assert run(words) == 0, words
        assert f"ftclf {command}" in capsys.readouterr().out


def test_a_name_that_is_completed_is_noted_and_a_comment_of_zsh_left_out(
    where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "tickets.csv", "run_dir=new", "epochs=3", "#", "which", "is", "it"]) == 2  # too few rows
    note, comment = capsys.readouterr().err.splitlines()[:2]
    assert sorted([note, comment]) == [
        "note: epochs=3 is taken as training.epochs=3",
        "note: what stands behind # is taken as a comment",
    ]


def test_every_answer_can_be_typed() -> None:
    """All names, switches and values of other tools lead to settings that exist, with values that they may have."""
    register()
    for command, names in NAMES.items():
        known = {*settings_of(command), *GROUPS}
        for name in [*names, *(SWITCHES if command == "train" else ())]:
            answer = instead(command, name, "1")
            assert answer is not None
            for word in shlex.split(answer.removeprefix("write ")):
                assert word.partition("=")[0] in known, (name, answer)
        assert not set(names) & set(settings_of(command)) | set(names) & set(ABSENT[command])
    for setting, values in SYNONYMS.items():
        choices = (
            GROUPS if setting in GROUPS else settings_of("eval" if setting == "split" else "train")[setting].metadata
        )
        assert setting in GROUPS or set(values.values()) <= set(choices["choices"])  # type: ignore[call-overload]
    for template in OTHER_COMMANDS.values():
        assert template.split()[0] in COMMANDS
    for word in {word for pair in SWITCHES.values() for word in pair}:
        assert checked_jobs("train", parse(["dataset=files", "dataset.train=rows.csv", word]))


def test_a_run_may_be_named_by_its_folder_its_checkpoint_a_file_or_a_folder_of_one_run(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "name").mkdir(parents=True)
    only = tmp_path / "runs" / "name" / "time"
    only.symlink_to(trained.folder)
    ways = [trained.folder, trained.checkpoint, trained.checkpoint / "ftclf.json", trained.metrics, trained.report]
    expected = None
    for way in [*ways, trained.plots / "x.png", tmp_path / "runs", tmp_path / "runs" / "name"]:
        if way.name == "x.png":
            way.write_text("")
        assert run(["predict", str(way), "tasty soup", "a match"]) == 0
        shown = capsys.readouterr()
        expected = expected or shown.out
        assert shown.out == expected
        assert shown.err == (
            f"note: {way} is taken as {only}, the only finished run there\n" if "runs" in way.parts else ""
        )
        way.unlink() if way.name == "x.png" else None
    assert expected is not None
    assert expected.count("\n") == 2


def begin(folder: Path, *, finished: bool, age: float) -> Path:
    """Write what shows that a run has begun, some seconds ago, or is finished."""
    (folder / "checkpoint").mkdir(parents=True)
    for name in ("config.json", "manifest.json", *(["metrics.json", "checkpoint/ftclf.json"] if finished else [])):
        (folder / name).write_text("{}")
    os.utime(folder / "config.json", (time.time() - age,) * 2)
    return folder


def test_of_several_runs_the_newest_are_named_as_they_are_typed(tmp_path: Path) -> None:
    runs = tmp_path / "my runs"
    folders = [begin(runs / "name" / f"time{age}", finished=True, age=age) for age in (2, 0, 3, 1)]
    begin(runs / "name" / "unfinished", finished=False, age=9)
    with pytest.raises(RunError, match="holds 4 finished runs; name one, the newest first: ") as caught:
        checkpoint_of(runs)
    named = shlex.split(str(caught.value).partition("first: ")[2].replace(",", ""))
    assert named[:3] == [str(folders[number]) for number in (1, 3, 0)]
    assert named[3:] == ["and", "1", "more"]


def test_a_run_goes_on_that_is_named_by_a_file_a_checkpoint_or_a_folder_of_which_it_is_the_only_unfinished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    done, begun = (begin(runs / "name" / str(age), finished=age == 1, age=age) for age in (1, 2))
    saved = begun / "resumable" / "checkpoint-4"
    saved.mkdir(parents=True)
    for way in (begun, begun / "manifest.json", saved, saved.parent):
        assert run_to_resume(way).folder == begun
    assert capsys.readouterr().err == ""
    assert run_to_resume(runs).folder == begun
    assert capsys.readouterr().err == f"note: {runs} is taken as {begun}, the only unfinished run there\n"
    assert run_to_resume(done).folder == done
    assert run_to_resume(begun / "nowhere").folder == begun / "nowhere"
    begin(runs / "sweep" / "time" / "0", finished=False, age=0)
    with pytest.raises(RunError, match=r"resume: .* holds 2 unfinished runs; name one, the newest first"):
        run_to_resume(runs)


class Terminal(io.TextIOWrapper):
    """Lines that somebody types."""

    def isatty(self) -> bool:
        return True


def test_where_predict_waits_for_somebody_to_type_it_says_so(
    trained: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(io.BytesIO(b"tasty soup\n")))
    assert run(["predict", str(trained.folder)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "type texts, one per line; Ctrl-D at the start of a line ends them\n"
    assert shown.out.count("\n") == 1
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"tasty soup\n")))
    assert run(["predict", str(trained.folder)]) == 0
    assert capsys.readouterr() == (shown.out, "")


def test_texts_of_the_command_line_are_texts_like_any(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for text, expected in (("", "the text is empty"), ("a\0b", "NUL"), ("\ud800", "half a character")):
        assert run(["predict", str(trained.folder), "fine text", text]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: texts: text 2: ")
        assert expected in line
    assert run(["predict", str(trained.folder), "a text", "keep=[id]"]) == 2
    assert "keep: got id, but texts of the command line have no columns" in capsys.readouterr().err


def test_compare_and_report_take_the_run_around_a_checkpoint(trained: Run, tmp_path: Path) -> None:
    for way in (trained.checkpoint, trained.metrics, trained.checkpoint / "ftclf.json"):
        assert find_runs([way])[0].folder == trained.folder
    assert run(["report", str(trained.checkpoint), "--output", str(tmp_path / "x.html")]) == 0
