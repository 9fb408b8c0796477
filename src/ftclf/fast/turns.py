"""Trainings that take turns in one process, and meet to make together what they have in common.

One runs at a time, each in a thread with random states of its own, so that it does what it would do alone. Where it
comes to something that all make together it waits until all others are there too, or goes on for a while.
"""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from ftclf.system.errors import SweepError

T = TypeVar("T")
Work = Callable[[dict[int, Any]], dict[int, Any]]  # from what each training brings, by seat, to what each gets


class Relay:
    """The turn that the trainings hand on.

    A training keeps it until it has to wait for what others bring. Threads that wait in vain are not woken.
    """

    def __init__(self, trainings: int, cores: int = 0) -> None:
        """Say how many trainings there are, and how many cores each would have without the others, if more than now."""
        self.cores = cores
        self.active = list(range(trainings))
        self.turn = 0
        lock = threading.Lock()
        self.turns = [threading.Condition(lock) for _ in range(trainings)]
        self.offers: list[deque[tuple[Any, Work]]] = [deque() for _ in range(trainings)]
        self.enough = [math.inf] * trainings  # offers with which each may go on
        self.answers: dict[int, Any] = {}
        self.stopped: BaseException | None = None
        self.shared: dict[Callable[[], Any], Any] = {}

    def share(self, make: Callable[[], T]) -> T:
        """Return what `make` made for the first training that asked for it."""
        if make not in self.shared:
            self.shared[make] = make()
        return self.shared[make]  # type: ignore[no-any-return]

    def wait(self, seat: int) -> None:
        """Wait for the turn. Raises what `stop` was given."""
        while True:
            with self.turns[seat]:
                self.turns[seat].wait_for(lambda: self.turn == seat or self.stopped is not None)
            if self.stopped is not None:
                raise self.stopped
            self._work_off()  # what waited for one that has left
            if len(self.offers[seat]) <= self.enough[seat]:
                return
            self._hand_on()

    def meet(self, seat: int, offer: Any, work: Work) -> Any:
        """Bring an offer, and return this training's part of what is worked out when all have brought one."""
        self.bring(seat, offer, work)
        return self.answers.pop(seat)

    def bring(self, seat: int, offer: Any, work: Work, ahead: int = 0) -> None:
        """Bring an offer, and go on unless more of them than `ahead` wait for those of others.

        The last to bring one does the work of all, which may draw nothing from the random states. An error of it is
        raised there; the others end as stopped.
        """
        self.offers[seat].append((offer, work))
        self._work_off()
        self.settle(seat, ahead)

    def settle(self, seat: int, ahead: int = 0) -> None:
        """Wait until so many of a training's offers wait at most."""
        if len(self.offers[seat]) <= ahead:
            return
        with _own_random_states():
            self.enough[seat] = ahead
            self._hand_on()
            self.wait(seat)
            self.enough[seat] = math.inf

    def leave(self, seat: int) -> None:
        """Take out a training that is done or has failed; the others go on without it.

        Where they had all come but for this one, one of them does the work: its failure is theirs.
        """
        self.active.remove(seat)
        self.offers[seat].clear()  # what a failed training has brought holds its network
        if self.active and self.stopped is None:
            self._hand_on()

    def stop(self, reason: BaseException) -> None:
        """Let every training end with this reason where it waits next."""
        self.stopped = reason
        for seat in range(len(self.turns)):
            self._wake(seat)

    def _work_off(self) -> None:
        """Do the work of what all have brought."""
        while all(self.offers[seat] for seat in self.active):
            found = {seat: self.offers[seat].popleft() for seat in self.active}
            offers, work = {seat: offer for seat, (offer, _) in found.items()}, found[self.active[0]][1]
            try:
                self.answers.update(work(offers))
            except BaseException:
                self.stop(self.stopped or SweepError("training.together: the step of all jobs failed in another one"))
                raise

    def _hand_on(self) -> None:
        """Give the turn to the next that can go on; to any where all wait, since there is work that can be done."""
        later = sorted(self.active, key=lambda seat: seat <= self.turn)
        self.turn = next((seat for seat in later if len(self.offers[seat]) <= self.enough[seat]), later[0])
        self._wake(self.turn)

    def _wake(self, seat: int) -> None:
        with self.turns[seat]:
            self.turns[seat].notify()


@contextmanager
def _own_random_states() -> Iterator[None]:
    """Keep this training's random states while others have the turn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


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

    def meet(self, offer: Any, work: Work) -> Any:
        """Bring an offer, and return this training's part of what is made of those of all."""
        return self.relay.meet(self.number, offer, work)

    def bring(self, offer: Any, work: Work, ahead: int) -> None:
        """Bring an offer, and wait only if more than so many are not worked off."""
        self.relay.bring(self.number, offer, work, ahead)

    def settle(self) -> None:
        """Wait until all that was brought is worked off."""
        self.relay.settle(self.number)

    def gather(self) -> None:
        """Wait until all others are as far, so that none is timed while they get ready."""
        self.meet(None, lambda offers: offers)
