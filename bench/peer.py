"""One end of an HTTP connection as a bare protocol: some ten microseconds a message.

`python -m bench.peer DESCRIPTOR` takes what is sent to a listening socket, and says so.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from typing import cast

import uvloop

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Peer(asyncio.Protocol):
    """Whole messages with a content length."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (head := self._data.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._data, 0, head)
            end = head + 4 + (int(found[1]) if found else 0)
            if len(self._data) < end:
                return
            message = bytes(self._data[:end])
            del self._data[:end]
            self.message(message)

    def message(self, message: bytes) -> None:
        """Take it and say so."""
        self.transport.write(TAKEN)


async def _serve(listening: socket.socket) -> None:
    """Until a signal ends the process."""
    server = await asyncio.get_running_loop().create_server(Peer, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
