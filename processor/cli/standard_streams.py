"""What every command writes to stdout and stderr, where the disk behind it is full, or nobody reads the pipe any more.

Output that does not arrive ends a command with one sentence, and not with status 0. Of stderr nobody could be told, and its logs and bars
matter less than what the command does: it goes on without them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NOT_TOLD = 1
PIPE_CLOSED = 141
"""As a shell shows it of `seq`, `cat` and the like, which SIGPIPE (13) ends; Python ignores that signal."""


class StdoutError(Exception):
    """Stdout cannot be written. No OSError: where a command expects one, it is about another file."""


class _Stdout(io.RawIOBase):
    """Remembers its first fault, so that whoever drops the error on the way does not hide it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.fault: OSError | None = None
        self.muted = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        if self.muted:
            return memoryview(data).nbytes
        try:
            return os.write(self._descriptor, data)
        except OSError as exc:
            self.fault = self.fault or exc
            raise StdoutError from exc


class _ClosedStdout(_Stdout):
    """Was closed before the start (``>&-``). Whatever has its number by now is another file."""

    def __init__(self) -> None:
        super().__init__(-1)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")

    def isatty(self) -> bool:
        return False


class _Stderr(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


@contextmanager
def told_stdout() -> Iterator[None]:
    """Around a command: whatever cannot be written to stdout ends it, at the latest when all is flushed.

    Raises:
        SystemExit: ``PIPE_CLOSED`` without a word if nobody reads the pipe any more; ``NOT_TOLD`` with a sentence on stderr else.
    """
    if sys.stdout is not sys.__stdout__:  # a program has taken it
        yield
        return
    stderr = sys.stderr
    if stderr is not None:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Stderr(2, "w", closefd=False)), stderr.encoding, "backslashreplace", line_buffering=True
        )
    raw = _ClosedStdout() if sys.__stdout__ is None else _Stdout(1)
    sys.stdout = _text_of(raw, sys.__stdout__)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except StdoutError:
        pass
    finally:
        raw.muted = True  # what is left in buffers
        sys.stdout, sys.stderr = sys.__stdout__, stderr
    if raw.fault is not None:
        _end(raw.fault)


def _text_of(raw: _Stdout, like: TextIO | None) -> TextIO:
    buffer = io.BufferedWriter(raw)
    if not isinstance(like, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, "utf-8")
    return io.TextIOWrapper(buffer, like.encoding, like.errors, line_buffering=like.line_buffering or like.write_through)


def _end(fault: OSError) -> None:
    if fault.errno == errno.EPIPE:
        raise SystemExit(PIPE_CLOSED) from None
    if sys.stderr is not None:
        sys.stderr.write(f"standard output cannot be written ({fault.strerror}): it is not complete. What the command has done is done\n")
    raise SystemExit(NOT_TOLD) from None
