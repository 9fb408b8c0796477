"""The only room with hand-made speed: encoder blocks for CPUs and kernels for GPUs, each checked against torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftclf.fast.cpu import can_fuse, encoder_of, fuse
from ftclf.system.console import warn

if TYPE_CHECKING:
    from ftclf.model.compute import Compute


def place(network: Any, compute: Compute, *, compiled: bool = False) -> Any:
    """Return the network on the device, as fast as it can be there; call it when its layers are in place."""
    network.to(compute.device)
    if compiled and compute.device == "cuda" and can_fuse(network):
        for block in encoder_of(network).layer:  # all are the same to torch, so that one graph is enough
            block.compile(dynamic=True)
    elif compiled:
        if compute.device == "cpu" and can_fuse(network):
            warn("torch.compile: on a CPU such a network is faster without; leave compile out")
        network.compile(dynamic=True)  # one graph for all lengths; in its place, so that no parameter is renamed
    elif compute.device == "cpu" and can_fuse(network):
        fuse(network, compute.threads)
    return network
