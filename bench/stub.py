"""A raw HTTP server that answers every POST like a session create, after a fixed latency. It is never the bottleneck."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TextIO

import uvloop

BODY = (
    b'{"session_id":"11111111-2222-4333-8444-555555555555","session_number":1234,"session_token":"aB3xQ9zK7m2p",'
    b'"url":"https://verify.didit.me/session/aB3xQ9zK7m2p","vendor_data":"user-1","metadata":null,"status":"Not Started",'
    b'"workflow_id":"9f9b1234-0000-4000-8000-1234567890ab","workflow_version":4,"callback":null}'
)
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Stub(asyncio.Protocol):
    latency_s = 0.0
    first_at: float | None = None
    times: Path | None = None
    answers: TextIO | None = None  # takes a line for each answer: the call's reference, and when, epoch seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop has no such subclass
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            begin = head.find(b"content-length:")
            length = int(head[begin + 15 :].split(b"\r\n", 1)[0]) if begin >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if Stub.first_at is None:
                Stub.first_at = time.time()
                if Stub.times is not None:
                    Stub.times.write_text(str(Stub.first_at))
            begin = head.find(b"x-request-id:")
            reference = head[begin + 13 :].split(b"\r\n", 1)[0].strip().decode() if begin >= 0 else ""
            if Stub.latency_s:
                asyncio.get_running_loop().call_later(Stub.latency_s, self._answer, reference)
            else:
                self._answer(reference)

    def _answer(self, reference: str) -> None:
        if not self.transport.is_closing():
            if Stub.answers is not None:
                Stub.answers.write(f"{reference} {time.time()}\n")
            self.transport.write(ANSWER)


async def main(port_file: Path, latency_s: float, times: Path, answers: Path | None) -> None:
    Stub.latency_s, Stub.times = latency_s, times
    Stub.answers = None if answers is None else answers.open("w", buffering=1)
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    port_file.write_text(str(server.sockets[0].getsockname()[1]))  # noqa: ASYNC240 - once, before anything is served
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None))
