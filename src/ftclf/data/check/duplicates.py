"""Texts that stand more than once: exactly, but for case, spaces and punctuation, or nearly."""

from __future__ import annotations

from collections.abc import Iterator

from ftclf.data import Data
from ftclf.data.check.finding import Finding


def duplicates(data: Data, near: float) -> Iterator[Finding]:
    """Yield what is found inside splits and across them, for exact, normalised and near duplicates."""
    yield from ()
