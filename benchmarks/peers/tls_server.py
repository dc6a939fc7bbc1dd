"""A TLS server that holds answers back until all have asked: for memory with requests in flight.

`python -m benchmarks.peers.tls_server COUNT FOLDER` prints its port; `ca.pem` in FOLDER vouches for
it. `/now` is answered at once, `/waiting` with how many wait; all others three seconds after COUNT
of them have come.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import cast

import trustme

HOLD_SECONDS = 3.0


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Holding(asyncio.Protocol):
    count = 0
    waiting: list[asyncio.Transport]

    def __init__(self, count: int, waiting: list[asyncio.Transport]) -> None:
        self.count, self.waiting = count, waiting
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if len(self._buffer) < end + 4 + int(length or 0):
                return
            self._buffer = self._buffer[end + 4 + int(length or 0) :]
            self._take(head.split(b" ")[1])

    def _take(self, path: bytes) -> None:
        if path in (b"/now", b"/waiting"):
            self._transport.write(answer(str(len(self.waiting)).encode()))
            return
        self.waiting.append(self._transport)
        if len(self.waiting) == self.count:
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release)

    def _release(self) -> None:
        for transport in self.waiting:
            transport.write(answer(b"{}"))
        self.waiting.clear()


async def main(count: int, folder: Path) -> None:
    """Serve for ever."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    waiting: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Holding(count, waiting), "127.0.0.1", 0, backlog=4096, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
