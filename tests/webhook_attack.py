"""Strangers at the webhook port, as a process of its own: ``webhook_attack.py PORT``, until it is ended. No secret is known to it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

_FORGED = f"POST /webhooks/didit HTTP/1.1\r\nHost: x\r\nX-Signature-V2: {'0' * 64}\r\n".encode()


def costly(size_bytes: int) -> bytes:
    """A forged delivery whose body takes as long to judge as one of its size can."""
    unit = b",1e300"
    body = b'{"a":[1' + unit * ((size_bytes - 10) // len(unit)) + b"]}"
    return _FORGED + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _attack(port: int, data: bytes, pause_s: float) -> None:
    """Send it again and again; where it is only the beginning of a request, hold the connection for as long as it lasts."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                await writer.drain()
                await reader.read(100)
            finally:
                writer.transport.abort()
        await asyncio.sleep(pause_s)


async def main(port: int) -> None:
    """200 senders of whole bodies, all at once and then each after a pause, and 280 that begin a request and never end it."""
    small, large, too_large = costly(60_000), costly(255_000), costly(1_000_000)
    unsigned = large.replace(b"X-Signature", b"X-Other")
    attacks = [(small, 50, 2.0), (large, 100, 2.0), (too_large, 25, 2.0), (unsigned, 25, 2.0)]
    attacks += [(_FORGED + b"X: ", 60, 0.1), (_FORGED + b"Content-Length: 100\r\n\r\nx", 180, 0.1), (large[:-9], 40, 0.1)]
    await asyncio.gather(*(_attack(port, data, pause_s) for data, senders, pause_s in attacks for _ in range(senders)))


if __name__ == "__main__":
    os.nice(15)  # whoever attacks has a machine of their own
    asyncio.run(main(int(sys.argv[1])))
