"""Trainings that take turns in one process and go through the shared blocks together.

One runs at a time, each in a thread with random states of its own, so that it does what it would do alone. Where its
batch enters the blocks, and where the gradient comes back to them, it waits until all others are there too; the blocks
are then passed once, with the rows of all.

On a GPU each has a stream of its own, and hands on the turn when it has launched some steps: the GPU computes those of
all at once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftclf.errors import SweepError
from ftclf.fused.architectures import blocks_of
from ftclf.fused.block import Activations, Block
from ftclf.fused.linear import Gradients
from ftclf.fused.passes import Pass
from ftclf.fused.sections import Section, joined


@dataclass
class Offer:
    """What a training brings to a meeting: tokens, or their gradient, and how they are to pass."""

    x: Tensor
    own: Pass
    wants_input: bool = False


Work = Callable[[dict[int, Offer]], dict[int, Any]]


class Relay:
    """The turn that the trainings hand on, and the blocks that they pass together."""

    def __init__(self, trainings: int, sections: int = 0) -> None:
        """Say how many trainings there are, and into how many sections each cuts its batches at least."""
        self.sections = sections
        self.active = list(range(trainings))
        self.networks: dict[int, nn.Module] = {}
        self.turn = 0
        self.condition = threading.Condition()
        self.offers: dict[int, Offer] = {}
        self.answers: dict[int, Any] = {}
        self.work: Work | None = None
        self.stopped: BaseException | None = None
        self.blocks: list[Block] = []
        self.shares: list[list[Section]] = []
        self.kept: list[list[Activations]] = []
        self.bounds: dict[int, tuple[slice, slice]] = {}  # of each training's tokens, entering and leaving

    def wait(self, seat: int) -> None:
        """Wait for the turn. Raises what `stop` was given."""
        with self.condition:
            self.condition.wait_for(lambda: (self.turn == seat and seat not in self.offers) or self.stopped is not None)
        if self.stopped is not None:
            raise self.stopped

    def meet(self, seat: int, offer: Offer, work: Work) -> Any:
        """Bring an offer, hand on the turn, and return this training's part of what the last to come works out."""
        with _own_random_states():
            with self.condition:
                self.offers[seat], self.work = offer, work
                self._hand_on()
            self.wait(seat)
        return self.answers.pop(seat)

    def pass_on(self, seat: int) -> None:
        """Hand on the turn, if anyone can take it, and wait until it has gone round."""
        others = [other for other in self.active if other != seat and other not in self.offers]
        if not others:
            return
        with _own_random_states():
            with self.condition:
                self.turn = min([other for other in others if other > seat] or others)
                self.condition.notify_all()
            self.wait(seat)

    def leave(self, seat: int) -> None:
        """Take out a training that is done or has failed; the others go on without it."""
        with self.condition:
            self.active.remove(seat)
            if self.active and self.stopped is None:
                self._hand_on()

    def stop(self, reason: BaseException) -> None:
        """Let every training end with this reason where it waits next."""
        with self.condition:
            self.stopped = reason
            self.condition.notify_all()

    def forward(self, offers: dict[int, Offer]) -> dict[int, Tensor]:
        """Pass the blocks with the rows of all; return each training's part."""
        if not self.blocks:
            self._share_weights()
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

    def _share_weights(self) -> None:
        """Let all networks hold the frozen weights of the first: they are the same, and one copy is enough."""
        networks = [self.networks[seat] for seat in sorted(self.networks)]
        for others in zip(*(network.parameters() for network in networks), strict=True):
            if not any(one.requires_grad for one in others):
                for other in others[1:]:
                    other.data = others[0].data
        self.blocks = blocks_of(networks)

    def _hand_on(self) -> None:
        """Give the turn to the next that has brought nothing yet; when all have, do the work and begin anew.

        An error of that work is raised in the training that came last; the others end as stopped.
        """
        waiting = [seat for seat in self.active if seat not in self.offers and seat not in self.answers]
        rest = [seat for seat in self.active if seat in self.answers]
        if not waiting and not rest and self.work is not None:
            offers = {seat: self.offers[seat] for seat in self.active}
            self.stopped = SweepError("training.together: the pass through the shared blocks failed in another job")
            try:
                self.answers = self.work(offers)
                self.stopped, self.offers, rest = None, {}, list(self.active)
            finally:
                self.condition.notify_all()
        self.turn = min(rest or waiting)
        self.condition.notify_all()


@contextmanager
def _own_random_states() -> Iterator[None]:
    """Keep this training's random states while others have the turn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if on_gpu:  # recorded steps know their state as an object: it is set aside whole, and the others begin with a copy
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        own = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if on_gpu:
        generator.graphsafe_set_state(own)


_seat: ContextVar[Seat | None] = ContextVar("seat", default=None)


def current_seat() -> Seat | None:
    """Return the place in a relay of the training that this thread runs."""
    return _seat.get()


@dataclass(frozen=True)
class Seat:
    """The place of one training in a relay."""

    relay: Relay
    number: int

    def sit(self) -> None:
        """Take the place for the training that this thread is about to run, and wait for its turn."""
        _seat.set(self)
        self.relay.wait(self.number)

    def pass_on(self) -> None:
        """Let the others go on for a while: what this training has asked of the GPU takes time."""
        self.relay.pass_on(self.number)

    def take(self, network: nn.Module) -> None:
        """Say which network trains here."""
        self.relay.networks[self.number] = network

    def joining(self, own: Pass) -> Joining:
        """Return the way through the blocks with all others."""
        return Joining(self, own)


@dataclass
class Joining:
    """A pass as one of many: the same two calls as `Pass`."""

    seat: Seat
    own: Pass

    def forward(self, x: Tensor, *, keep: bool) -> tuple[Tensor, None]:
        relay = self.seat.relay
        return relay.meet(self.seat.number, Offer(x.detach(), self.own), relay.forward), None

    def backward(self, g: Tensor, _: None, *, wants_input: bool) -> tuple[Tensor | None, Gradients]:
        relay = self.seat.relay
        offer = Offer(g, self.own, wants_input)
        return relay.meet(self.seat.number, offer, relay.backward)  # type: ignore[no-any-return]
