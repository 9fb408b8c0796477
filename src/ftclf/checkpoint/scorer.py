"""A saved model as what eval and predict need of it: logits of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ftclf.checkpoint.format import CheckpointInfo, load_checkpoint
from ftclf.checkpoint.tfidf import load_tfidf
from ftclf.data import Split
from ftclf.system.console import note
from ftclf.system.library import threads_kept
from ftclf.system.progress_bar import phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftclf.model.compute import Compute


class Scorer(Protocol):
    """A model that is ready to score. The logits have the shape (texts, labels), in the order of the texts."""

    def logits(self, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]: ...

    def logits_of(self, split: Split, batch_size: int) -> NDArray[np.float32]:
        """Return the logits of a data set's split, of which more than the texts may be kept."""
        ...


@dataclass(frozen=True)
class NetworkScorer:
    """A network on this machine."""

    folder: Path
    network: Any
    tokenizer: PreTrainedTokenizerBase
    compute: Compute
    max_length: int
    threads: int  # that torch had when it was loaded

    def logits(self, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]:
        from ftclf.model.tokens import tokenise

        with threads_kept(self.threads):
            return self._logits(tokenise(texts, self.tokenizer, self.max_length), batch_size)

    def logits_of(self, split: Split, batch_size: int) -> NDArray[np.float32]:
        from ftclf.model.tokens import cached_tokens

        tokens, _ = cached_tokens(split, self.tokenizer, self.max_length)
        with phase("evaluation", len(split)), threads_kept(self.threads):
            return self._logits(tokens, batch_size)

    def _logits(self, tokens: Any, batch_size: int) -> NDArray[np.float32]:
        from ftclf.score.logits import compute_logits

        return compute_logits(self.network, tokens, self.compute, batch_size, checkpoint=self.folder)


def open_scorer(
    folder: Path,
    info: CheckpointInfo,
    *,
    threads: int | None = None,
    engine: str | None = None,
    compiled: bool = False,
) -> Scorer:
    """Load a checkpoint, ready to score on this machine; without `threads` on all cores."""
    if info.has_network:
        return _open_network(folder, info, threads=threads, engine=engine, compiled=compiled)
    for name, given in (("compile", compiled), ("engine", engine)):
        if given:
            note(f"{name} has no effect on a checkpoint of method={info.method['kind']}")
    return load_tfidf(folder, info)


def _open_network(
    folder: Path, info: CheckpointInfo, *, threads: int | None, engine: str | None, compiled: bool
) -> NetworkScorer:
    from ftclf.system.imports import quiet_libraries

    quiet_libraries()
    import torch

    from ftclf.model.compute import check_compiler, scoring_compute
    from ftclf.score.logits import scoring_network

    compute = scoring_compute(info.device, info.precision, threads, engine or info.engine)
    if compiled:
        check_compiler("compile", compute.device)
    checkpoint = load_checkpoint(folder)
    network = scoring_network(checkpoint.network, compute, compiled=compiled)
    length = info.dataset.max_length
    return NetworkScorer(folder, network, checkpoint.tokenizer, compute, length, torch.get_num_threads())
