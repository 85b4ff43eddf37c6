"""Facts on disk, by the request that they are of: written in any order, read back one part of the requests at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from processor.verify.facts import FACT_BYTES, Fact, pack, unpack

_FACTS_OF_PART = 40_000  # what one part holds in memory when it is judged: about 30 MB
_PARTS_MAX = 4096
_BUFFER_BYTES = 4096  # of each part: 16 MB of all at most


class FactSpill:
    """Temporary files in a folder; use as a context manager. A part holds all facts of each of its requests.

    Args:
        count: of facts, roughly; decides into how many parts they are put.
        folder: where the files go; None for the system's folder for temporary files.

    Raises:
        OSError: from every method, if the disk is full or cannot be written.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self.parts = min(_PARTS_MAX, max(1, -(-count // _FACTS_OF_PART)))
        self._folder = tempfile.TemporaryDirectory(prefix="verify-", dir=folder)
        self._buffers = [bytearray() for _ in range(self.parts)]
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._folder.cleanup()

    @property
    def size_bytes(self) -> int:
        """What lies on disk when all is written."""
        return self.count * FACT_BYTES

    def add(self, facts: Iterable[Fact]) -> None:
        """Keep facts."""
        for fact in facts:
            part = int.from_bytes(fact.request[:4], "big") % self.parts
            buffer = self._buffers[part]
            buffer += pack(fact)
            self.count += 1
            if len(buffer) >= _BUFFER_BYTES:
                self._write(part)

    def read(self) -> Iterator[list[Fact]]:
        """The parts, each once; its file is deleted when it was read."""
        for part in range(self.parts):
            self._write(part)
            path = self._path(part)
            yield list(unpack(path.read_bytes())) if path.exists() else []
            path.unlink(missing_ok=True)

    def _write(self, part: int) -> None:
        if self._buffers[part]:
            with self._path(part).open("ab", buffering=0) as file:
                file.write(self._buffers[part])
            self._buffers[part].clear()

    def _path(self, part: int) -> Path:
        return Path(self._folder.name, f"{part:04}")
