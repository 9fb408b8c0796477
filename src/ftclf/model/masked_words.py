"""Words that a masked language model expects in a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftclf.config import ModelConfig, PinConfig
from ftclf.model.base_weights import WEIGHTS, Weights, find_weights, refuse_infinite
from ftclf.model.network import load_tokenizer, longest_text, read_settings, refused_as
from ftclf.model.whole_words import whole_words
from ftclf.system.errors import WeightsError

PINNED = PinConfig(
    name="distilbert/distilbert-base-uncased", revision="12040accade4e8a0f71eabdb258fecc2e7e948be"
)  # as configs/model/distilbert.yaml
LONGEST = 256  # tokens of a text that are read
AT_ONCE = 16  # texts
SHORTEST = 3  # letters of an expected word


def find_masked_model(name: str, revision: str | None, home: Path | None) -> Weights:
    """Find the weights of `augment.model`. Raises WeightsError, within seconds, where there are none."""
    try:
        return find_weights(ModelConfig(name=name, revision=revision, pin=PINNED), home)
    except WeightsError as error:
        said = str(error).replace("model.name", "augment.model").split("; three ways out")[0]
        if not said.startswith("augment.model: "):
            said = f"augment.model: {said}; augment.model=FOLDER takes one that is on this machine"
        raise WeightsError(said) from error


class MaskedWords:
    """A masked language model that is asked for several places of a text at once."""

    def __init__(self, folder: Path, device: str, candidates: int) -> None:
        self.tokenizer: Any = _named(lambda: load_tokenizer(folder))
        self.network = _load(folder).to(device).eval()
        if self.tokenizer.mask_token is None:
            raise WeightsError(
                f"augment.model: the tokenizer in {folder} has no mask token, allowed: one of a masked language model"
            )
        self.words = whole_words(self.tokenizer)
        self.device, self.candidates = device, candidates
        self.longest = min(LONGEST, longest_text(self.network) or LONGEST)

    def expected(self, texts: Sequence[str], originals: Sequence[Sequence[str]]) -> list[list[list[str]]]:
        """Return the most probable words at each mask of each text, without the one that stood there.

        `texts` have the tokenizer's mask token in the places of `originals`. What is beyond 256 tokens gets none.
        """
        results: list[list[list[str]]] = []
        for start in range(0, len(texts), AT_ONCE):
            results += self._of_batch(texts[start : start + AT_ONCE], originals[start : start + AT_ONCE])
        return results

    def _of_batch(self, texts: Sequence[str], originals: Sequence[Sequence[str]]) -> list[list[list[str]]]:
        import torch

        self.tokenizer.truncation_side = "right"
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        masks = batch["input_ids"] == self.tokenizer.mask_token_id
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            logits = self.network(**inputs).logits[masks].float()
        known = torch.tensor([*self.words], device=logits.device)
        best = torch.sort(logits[:, known], dim=1, descending=True, stable=True).indices[:, : self.candidates + 1]
        ranked = iter(known[best].tolist())
        results = []
        for places, words in zip(masks.sum(dim=1).tolist(), originals, strict=True):
            found = [next(ranked) for _ in range(places)]
            found += [[]] * (len(words) - places)
            results.append([self._without(ids, word) for ids, word in zip(found, words, strict=False)])
        return results

    def _without(self, ids: list[int], word: str) -> list[str]:
        words = [self.words[number] for number in ids]
        return [other for other in words if other.casefold() != word.casefold() and len(other) >= SHORTEST][
            : self.candidates
        ]


def _load(folder: Path) -> Any:
    from transformers import AutoModelForMaskedLM

    settings = _named(lambda: read_settings(folder))
    with refused_as(f"augment.model: {folder} is no masked language model"):
        network, report = AutoModelForMaskedLM.from_pretrained(
            folder,
            config=settings,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            dtype="float32",
        )
    if missing := sorted(report["missing_keys"]):
        raise WeightsError(
            f"augment.model: {WEIGHTS} in {folder} has no head of a masked language model ({missing[0]} is missing)"
        )
    refuse_infinite(dict(network.named_parameters()), folder / WEIGHTS)
    return network


def _named(load: Any) -> Any:
    """Load a part of a model; an error names the setting that the model is of."""
    try:
        return load()
    except WeightsError as error:
        raise WeightsError(str(error).replace("model.name", "augment.model")) from error
