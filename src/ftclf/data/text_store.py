"""Texts on disk instead of in memory: millions of them take no more room than their number."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import IO, overload

import numpy as np
from numpy.typing import NDArray

from ftclf.storage.cache import cache_folder, not_writable, writing_cache

CHUNK = 500  # texts in memory at a time


class Texts(Sequence[str]):
    """Texts of a file that is mapped into memory: text i is the UTF-8 of `content[offsets[i]:offsets[i + 1]]`.

    `rows` are the numbers of those that belong here, in their order; without it all do.
    """

    def __init__(
        self, content: mmap.mmap | bytes, offsets: NDArray[np.int64], rows: NDArray[np.int64] | None = None
    ) -> None:
        self.content, self.offsets, self.rows = content, offsets, rows

    @classmethod
    def of_file(cls, file: IO[bytes], offsets: NDArray[np.int64]) -> Texts:
        """Map a file that was written by a TextWriter."""
        return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if offsets[-1] else b"", offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        rows = range(len(self))[index]
        wanted = np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else np.array([rows])
        texts = [text.decode("utf-8", "surrogatepass") for text in self._encoded(wanted)]
        return texts if isinstance(index, slice) else texts[0]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterator[list[str]]:
        """Return the texts in their order, some at a time."""
        return (self[start : start + CHUNK] for start in range(0, len(self), CHUNK))

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """Return the texts of these rows; nothing is copied."""
        return Texts(self.content, self.offsets, rows if self.rows is None else self.rows[rows])

    def digest(self) -> str:
        """Return the SHA-256 of the texts in their order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), CHUNK):
            for text in self._encoded(np.arange(start, min(start + CHUNK, len(self)))):
                digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()

    def _encoded(self, index: NDArray[np.int64]) -> list[bytes]:
        rows = index if self.rows is None else self.rows[index]
        bounds = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        return [self.content[start:end] for start, end in bounds]


class TextWriter:
    """Write texts to a file; without one to a file without a name, which goes with the last use of it."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        if file is None:  # not in the system's folder for such files: it is often held in memory
            with writing_cache():
                cache_folder().mkdir(parents=True, exist_ok=True)
                file = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115
        self.file, self.offsets = file, array("q", [0])

    def __enter__(self) -> TextWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of what `texts` did not have to write any more
            self.file.close()

    def add(self, text: str) -> None:
        encoded = text.encode("utf-8", "surrogatepass")
        try:
            self.file.write(encoded)
        except OSError as error:
            raise not_writable(error) from error
        self.offsets.append(self.offsets[-1] + len(encoded))

    def texts(self) -> Texts:
        """Return what was written; nothing may be added after this."""
        with writing_cache():
            self.file.flush()
        return Texts.of_file(self.file, np.frombuffer(self.offsets, dtype=np.int64))


def write_texts(texts: Iterable[str], file: IO[bytes] | None = None) -> Texts:
    """Write texts and return them as they lie on disk."""
    with TextWriter(file) as writer:
        for text in texts:
            writer.add(text)
        return writer.texts()
