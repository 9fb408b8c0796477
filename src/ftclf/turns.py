"""Trainings that take turns in one process, and meet to make together what they have in common.

One runs at a time, each in a thread with random states of its own, so that it does what it would do alone. Where it
comes to something that all make together it waits until all others are there too.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from ftclf.errors import SweepError

T = TypeVar("T")
Work = Callable[[dict[int, Any]], dict[int, Any]]  # from what each training brings, by seat, to what each gets


class Relay:
    """The turn that the trainings hand on."""

    def __init__(self, trainings: int, cores: int = 0) -> None:
        """Say how many trainings there are, and how many cores each would have without the others, if more than now."""
        self.cores = cores
        self.active = list(range(trainings))
        self.turn = 0
        self.due = False  # the work of those that have come: the one they waited for has left
        self.condition = threading.Condition()
        self.offers: dict[int, Any] = {}
        self.answers: dict[int, Any] = {}
        self.work: Work | None = None
        self.stopped: BaseException | None = None
        self.shared: dict[Callable[[], Any], Any] = {}

    def share(self, make: Callable[[], T]) -> T:
        """Return what `make` made for the first training that asked for it."""
        if make not in self.shared:
            self.shared[make] = make()
        return self.shared[make]  # type: ignore[no-any-return]

    def wait(self, seat: int) -> None:
        """Wait for the turn. Raises what `stop` was given."""
        with self.condition:
            self.condition.wait_for(
                lambda: (self.turn == seat and (self.due or seat not in self.offers)) or self.stopped is not None
            )
        if self.stopped is not None:
            raise self.stopped

    def meet(self, seat: int, offer: Any, work: Work) -> Any:
        """Bring an offer, hand on the turn, and return this training's part of what the last to come works out."""
        with _own_random_states():
            with self.condition:
                self.offers[seat], self.work = offer, work
                self._hand_on()
            self.wait(seat)
            if self.due:
                with self.condition:
                    self.due = False
                    self._hand_on()
                self.wait(seat)
        return self.answers.pop(seat)

    def leave(self, seat: int) -> None:
        """Take out a training that is done or has failed; the others go on without it.

        Where they had all come but for this one, one of them does the work: its failure is theirs.
        """
        with self.condition:
            self.active.remove(seat)
            if not self.active or self.stopped is not None:
                return
            if all(other in self.offers for other in self.active):
                self.turn, self.due = max(self.active), True
                self.condition.notify_all()
            else:
                self._hand_on()

    def stop(self, reason: BaseException) -> None:
        """Let every training end with this reason where it waits next."""
        with self.condition:
            self.stopped = reason
            self.condition.notify_all()

    def _hand_on(self) -> None:
        """Give the turn to the next that has brought nothing yet; when all have, do the work and begin anew.

        An error of that work is raised in the training that does it; the others end as stopped.
        """
        waiting = [seat for seat in self.active if seat not in self.offers and seat not in self.answers]
        rest = [seat for seat in self.active if seat in self.answers]
        if not waiting and not rest and self.work is not None:
            offers = {seat: self.offers[seat] for seat in self.active}
            self.stopped = SweepError("training.together: the step of all jobs failed in another one")
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

    def gather(self) -> None:
        """Wait until all others are as far, so that none is timed while they get ready."""
        self.meet(None, lambda offers: offers)
