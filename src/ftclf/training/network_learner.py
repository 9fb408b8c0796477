"""What a run trains with method=full, head or lora: a network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftclf.checkpoint.format import prove_reload, save_checkpoint
from ftclf.config import TrainConfig
from ftclf.data import Data
from ftclf.storage.run_folder import Run
from ftclf.system.memory import hand_back_memory
from ftclf.training.checkpoint_info import checkpoint_info
from ftclf.training.finish import Fitted
from ftclf.training.prepare import SCORED, PreparedNetwork, build_trainer, prepare
from ftclf.training.resume import Standing
from ftclf.training.start import start

if TYPE_CHECKING:
    from ftclf.checkpoint.format import Checkpoint
    from ftclf.training.trainer import ClassifierTrainer


class NetworkLearner:
    """A network with its trainer; after it was saved, the checkpoint that was loaded again."""

    def __init__(self, config: TrainConfig, run: Run, data: Data, standing: Standing) -> None:
        self.prepared: PreparedNetwork = prepare(config, run, data, standing)
        trainer, self.parameters = build_trainer(self.prepared)
        trainer.bar.ahead = partial(_seconds_after, self.prepared)
        self._trainer: ClassifierTrainer | None = trainer
        self._checkpoint: Path | None = None  # that training goes on from
        self._expected: tuple[dict[str, Any], Any] | None = None  # rows of validation, and their logits
        self._saved: Checkpoint | None = None

    @property
    def trainer(self) -> ClassifierTrainer:
        assert self._trainer is not None
        return self._trainer

    def start(self, *, begun: bool) -> dict[str, Any]:
        record, self._checkpoint = start(self.prepared, self.trainer, begun=begun)
        return record

    def fit(self) -> Fitted:
        """Train, from a checkpoint if there is one, and leave the best weights in the network."""
        trainer, config = self.trainer, self.prepared.config.training
        trainer.train(resume_from_checkpoint=str(self._checkpoint) if self._checkpoint else None)
        seconds, steps = trainer.seconds - trainer.seconds_aside, trainer.state.global_step
        kept = trainer.state.best_global_step or steps
        examples = steps * config.batch_size * config.accumulation
        if config.max_steps is None:
            assert config.epochs is not None
            examples = min(examples, round(config.epochs * self.prepared.sampler.rows))
        return Fitted(self.parameters, trainer.engine.name, steps, kept, examples, seconds, trainer.seconds_before)

    def save(self, folder: Path) -> None:
        prepared, network = self.prepared, self.trainer.bare_network
        save_checkpoint(folder, network, prepared.tokenizer, checkpoint_info(prepared))
        self._expected = _some_logits(prepared, network)
        self._trainer = None  # and its network, before that of the checkpoint is loaded

    def prove(self, folder: Path) -> float:
        prepared = self.prepared
        assert self._expected is not None
        seed = prepared.config.training.seed
        self._saved, difference = prove_reload(folder, *self._expected, seed=seed, home=prepared.home)
        return difference

    def logits(self) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Return logits by the checkpoint as it was saved: exactly what `ftclf eval` computes."""
        from ftclf.score.logits import compute_logits, milliseconds_per_text, scoring_network

        assert self._saved is not None
        compute, batch_size = self.prepared.compute, self.prepared.config.training.eval_batch_size
        network = scoring_network(self._saved.network, compute)
        checkpoint, tokens = self.prepared.run.checkpoint, self.prepared.tokens
        logits = {
            name: compute_logits(network, tokens[name], compute, batch_size, checkpoint=checkpoint) for name in SCORED
        }
        milliseconds = milliseconds_per_text(network, tokens["test"], compute)
        self._saved = None  # the network has said all it has to: plots need its room
        del network
        hand_back_memory()
        return logits, milliseconds


def _seconds_after(prepared: PreparedNetwork, seconds_per_token: float) -> float:
    """Return how long evaluation and baselines will take, from the seconds that a token of validation took."""
    from ftclf.score.baselines import work_ahead

    scored = sum(int(prepared.tokens[name].offsets[-1]) for name in SCORED)
    embedded, seconds = work_ahead(prepared)
    return seconds_per_token * (scored + embedded) + seconds


def _some_logits(prepared: PreparedNetwork, network: Any) -> tuple[dict[str, Any], Any]:
    """Return rows of validation and the network's logits of them, which its checkpoint must give again."""
    import torch

    from ftclf.model.batches import model_inputs
    from ftclf.model.compute import as_it_stands

    tokens = prepared.tokens["validation"]
    inputs = model_inputs(tokens, np.arange(min(16, len(tokens))), prepared.compute.device)
    network.eval()
    with torch.inference_mode(), as_it_stands(compiled=prepared.config.training.compile):
        return inputs, network(**inputs).logits
