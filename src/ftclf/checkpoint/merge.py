"""`ftclf merge`: a LoRA checkpoint as whole weights, a folder that transformers opens without peft or the base."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from ftclf.storage.durable import seal, sync_folder
from ftclf.storage.run_folder import checkpoint_of
from ftclf.storage.run_paths import home_of, way
from ftclf.system.console import say, size
from ftclf.system.errors import CheckpointError, RunError


def merge(checkpoint: Path, output: Path) -> None:
    """Write the checkpoint's network with its adapter added to the weights into a new folder, a checkpoint as well.

    Raises RunError where there is no adapter or something stands at `output`, CheckpointError where the folder, read
    again, does not give the logits of network and adapter.
    """
    folder = checkpoint_of(checkpoint.expanduser())
    output = output.expanduser().absolute()
    if output.exists():
        raise RunError(f"output: {output} exists; choose another name")
    if not output.parent.is_dir():
        raise RunError(f"output: no folder {output.parent}; make it first")
    from ftclf.checkpoint.format import load_checkpoint, prove_reload, save_checkpoint
    from ftclf.model.batches import model_inputs
    from ftclf.model.method import merged
    from ftclf.model.tokens import tokenise
    from ftclf.system.imports import quiet_libraries

    quiet_libraries()
    import torch

    loaded = load_checkpoint(folder)
    info = loaded.info
    if not hasattr(loaded.network, "merge_and_unload"):
        raise RunError(f"merge: {folder} has no adapter: it is a folder of whole weights already")
    tokens = tokenise(info.label_names[:16], loaded.tokenizer, info.dataset.max_length)
    inputs = model_inputs(tokens, np.arange(len(tokens)), "cpu")
    with torch.inference_mode():
        logits = loaded.network(**inputs).logits
    if not logits.isfinite().all():
        raise CheckpointError(f"{folder}: it gives logits that are not finite; train again, or use another checkpoint")
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as room:
        beside = Path(room) / output.name
        beside.mkdir()
        if home := home_of(folder, info.started_in):
            info.started_in = way(output, home)
        save_checkpoint(beside, merged(loaded.network), loaded.tokenizer, info)
        if (card := folder / "README.md").is_file():
            shutil.copyfile(card, beside / card.name)
        seal(beside)
        prove_reload(beside, inputs, logits, seed=0)
        weights = sum(path.stat().st_size for path in beside.glob("*.safetensors"))
        beside.rename(output)
        sync_folder(output.parent)
    say(f"merged: {output} ({size(weights)}; transformers opens it, and so do ftclf eval and predict)")
