"""Vectors of texts by an encoder as it came: made once for a model, its tokens and a machine, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.config import DatasetConfig, ModelConfig, TrainingConfig
from ftclf.data import Split
from ftclf.score import embeddings
from ftclf.storage.cache import cache_folder, missing, new_entry
from ftclf.system.imports import quiet_libraries
from ftclf.system.progress_bar import advance, phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftclf.model.base_weights import Weights
    from ftclf.model.compute import Compute
    from ftclf.model.tokens import Tokens

VECTORS = "vectors.npy"
CODE = hashlib.sha256(Path(embeddings.__file__).read_bytes()).hexdigest()


@dataclass
class FrozenEncoder:
    """A base encoder, its tokenizer and the machine that runs it."""

    model: ModelConfig
    weights: Weights
    compute: Compute
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    @classmethod
    def of(cls, model: ModelConfig, dataset: DatasetConfig) -> FrozenEncoder:
        """Find the weights and the tokenizer. Raises WeightsError where they are missing."""
        from ftclf.model.base_weights import find_weights
        from ftclf.model.compute import choose_compute
        from ftclf.model.network import load_tokenizer

        weights = find_weights(model)
        quiet_libraries()
        compute = choose_compute(TrainingConfig())
        return cls(model, weights, compute, load_tokenizer(weights.folder), dataset.max_length)

    def vectors(self, split: Split) -> NDArray[np.float32]:
        """Return vectors of length 1, shape (rows, hidden size)."""
        from ftclf.model.tokens import cached_tokens

        tokens, _ = cached_tokens(split, self.tokenizer, self.max_length)
        with phase("embedding", len(tokens)):
            return self.vectors_of(tokens)

    def vectors_of(self, tokens: Tokens, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the vectors of tokens, or of some of their rows, from disk where they were embedded before.

        It counts the rows as progress of the innermost phase.
        """
        folder = cache_folder() / "vectors" / self._key(tokens, rows)
        with missing(folder) as fresh:
            if fresh:
                with new_entry(folder) as beside:
                    np.save(beside / VECTORS, embeddings.embed(self._encoder, tokens, self.compute, rows=rows))
            else:
                advance(len(tokens) if rows is None else len(rows))
        return np.load(folder / VECTORS)  # type: ignore[no-any-return]

    @property
    def identity(self) -> list[str]:
        """All that decides what the encoder makes of tokens."""
        base, compute = self.weights, self.compute
        return [CODE, base.sha256, base.settings, compute.precision, compute.engine, self._attention]

    def _key(self, tokens: Tokens, rows: NDArray[np.int64] | None) -> str:
        """Return the name of the cache's entry."""
        texts = hashlib.sha256()
        for array in (tokens.offsets, tokens.ids, *(() if rows is None else (rows,))):
            texts.update(np.ascontiguousarray(array).data)
        return hashlib.sha256(json.dumps([texts.hexdigest(), *self.identity]).encode()).hexdigest()[:32]

    @cached_property
    def _attention(self) -> str:
        """Return the attention kernel: the same for every split, whatever its lengths."""
        from ftclf.model.network import outline

        if self.model.attention != "auto":
            return self.model.attention
        return "sdpa" if outline(self.weights.folder)._supports_sdpa else "eager"

    @cached_property
    def _encoder(self) -> Any:
        from ftclf.model.network import build_classifier

        model = replace(self.model, attention=self._attention)
        network = build_classifier(self.weights.folder, ["a", "b"], model).network
        return network.get_encoder() if network.config.is_encoder_decoder else network.base_model
