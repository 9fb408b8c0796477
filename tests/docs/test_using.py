"""docs/using.md: its Python blocks run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ftclf
from conftest import make_rows, write_csv

PAGE = Path(__file__).resolve().parents[2] / "docs" / "using.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ftclf.errors.FtclfWarning")  # a baseline is better than so tiny a model
def test_every_block_of_the_page_runs(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the model is another: one of two layers in the place of MiniLM."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 10
    compose = ftclf.compose
    tiny = (f"model.name={tiny_models['bert']}", "training.precision=fp32", "baselines=[]")
    monkeypatch.setattr(ftclf, "compose", lambda *words: compose(*words, *tiny))
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "tickets.csv", make_rows(120))
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), namespace)
        assert capsys.readouterr().out or "writer" in block, block
    assert len((tmp_path / "labelled.csv").read_text().splitlines()) == 121
    used = "\n".join(blocks)
    assert all(f"ftclf.{name}(" in used for name in ("compose", "train", "load", "evaluate", "compare"))
