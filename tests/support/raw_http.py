"""Requests that no client library sends: byte for byte as the test has them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.running import Running

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def code(self) -> str:
        """The code of a problem, having checked that the answer is one."""
        assert self.headers["content-type"] == "application/problem+json", self
        body: dict[str, Any] = json.loads(self.content)
        assert body["status"] == self.status
        return str(body["code"])


async def raw_request(server: Running, method: str, target: str, headers: Headers = (), body: bytes = b"") -> RawAnswer:
    """Send exactly this, in Latin-1, on a connection of its own."""
    sent = [("Host", "localhost"), ("Connection", "close"), *headers]
    if body:
        sent.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in sent)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        async with asyncio.timeout(10):
            return _read(await reader.read())
    finally:
        writer.close()


def _read(answer: bytes) -> RawAnswer:
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return RawAnswer(int(first.split(" ")[1]), headers, content)
