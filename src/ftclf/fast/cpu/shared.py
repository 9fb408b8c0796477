"""Trainings of a relay whose batches pass the blocks together: one base, and the adapters of each.

Where a batch enters the blocks, and where the gradient comes back to them, a training waits for the others; the blocks
are then passed once, with the rows of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ftclf.fast.cpu.architectures import blocks_of
from ftclf.fast.cpu.block import Activations, Block
from ftclf.fast.cpu.linear import Gradients
from ftclf.fast.cpu.passes import Pass
from ftclf.fast.cpu.sections import Section, joined
from ftclf.fast.turns import Seat


@dataclass
class Offer:
    """What a training brings to a meeting: tokens, or their gradient, and how they are to pass."""

    x: Tensor
    own: Pass
    wants_input: bool = False


class SharedBlocks:
    """The blocks that trainings pass together, and what a pass keeps of them until it comes back."""

    def __init__(self) -> None:
        self.networks: dict[int, nn.Module] = {}
        self.blocks: list[Block] = []
        self.shares: list[list[Section]] = []
        self.kept: list[list[Activations]] = []
        self.bounds: dict[int, tuple[slice, slice]] = {}  # of each training's tokens, entering and leaving

    def forward(self, offers: dict[int, Offer]) -> dict[int, Tensor]:
        """Pass the blocks with the rows of all; return each training's part."""
        if not self.blocks:
            self.blocks = self._over_one_base()
        self.shares, self.bounds, start, out = [], {}, 0, 0
        for seat, offer in offers.items():
            leaving = max(section.tokens.stop for share in offer.own.leaving for section in share)
            self.bounds[seat] = slice(start, start + len(offer.x)), slice(out, out + leaving)
            for number, sections in enumerate(offer.own.shares):
                if number == len(self.shares):
                    self.shares.append([])
                model = sorted(self.networks).index(seat)
                own = joined(sections)
                self.shares[number].append(replace(own, model=model, start=own.start + start))
            start, out = start + len(offer.x), out + leaving
        together = self._pass(offers)
        y, self.kept = together.forward(torch.cat([offer.x for offer in offers.values()]), keep=True)
        return {seat: y[self.bounds[seat][1]] for seat in offers}

    def backward(self, offers: dict[int, Offer]) -> dict[int, tuple[Tensor | None, Gradients]]:
        """Pass the blocks back with the gradients of all; a training that left in between brings none."""
        like = next(iter(offers.values())).x
        g = like.new_zeros(max(leaving.stop for _, leaving in self.bounds.values()), like.shape[1])
        for seat, offer in offers.items():
            g[self.bounds[seat][1]] = offer.x
        wants_input = any(offer.wants_input for offer in offers.values())
        dx, grads = self._pass(offers).backward(g, self.kept, wants_input=wants_input)
        return {seat: (None if dx is None else dx[self.bounds[seat][0]], grads) for seat in offers}

    def _pass(self, offers: dict[int, Offer]) -> Pass:
        return replace(next(iter(offers.values())).own, blocks=self.blocks, shares=self.shares)

    def _over_one_base(self) -> list[Block]:
        networks = [self.networks[seat] for seat in sorted(self.networks)]
        share_frozen_weights(networks)
        return blocks_of(networks)


def share_frozen_weights(networks: list[nn.Module]) -> None:
    """Let all networks hold the frozen weights of the first: they are the same, and one copy is enough."""
    for others in zip(*(network.parameters() for network in networks), strict=True):
        if not any(one.requires_grad for one in others):
            for other in others[1:]:
                other.data = others[0].data


@dataclass
class Joining:
    """A pass as one of many: the same two calls as `Pass`."""

    seat: Seat
    shared: SharedBlocks
    own: Pass

    def forward(self, x: Tensor, *, keep: bool) -> tuple[Tensor, None]:
        return self.seat.meet(Offer(x.detach(), self.own), self.shared.forward), None

    def backward(self, g: Tensor, _: None, *, wants_input: bool) -> tuple[Tensor | None, Gradients]:
        offer = Offer(g, self.own, wants_input)
        return self.seat.meet(offer, self.shared.backward)  # type: ignore[no-any-return]
