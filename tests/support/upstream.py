"""A host on loopback that answers what a test wants, byte for byte, and a resolver that says where names lead."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeAlias

from server.outgoing.resolver import Address

Answer: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
PUBLIC = "127.0.0.1"
"""What stands for a public address in these tests: never is a real one asked."""
PRIVATE = "127.0.0.2"


def counts_as_public(address: Address) -> bool:
    return str(address) == PUBLIC


def answered(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> Answer:
    """An ordinary answer, after which the connection may be used again."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


@dataclass
class Upstream:
    """A running host. Counts connections, and keeps the heads of requests."""

    address: str
    port: int = 0
    answer: Answer = field(default_factory=answered)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        await self.answer(writer)


@asynccontextmanager
async def upstream(address: str = PUBLIC, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """A host at this address of the loopback network, at a free port unless one is given."""
    host = Upstream(address)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(host.serve(reader, writer)))

    server = await asyncio.start_server(accept, address, port, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Names:
    """Where names lead: `leads("a.example", [...], [...])` says the first at the first question, the last from then on."""

    def __init__(self) -> None:
        self.asked: defaultdict[str, int] = defaultdict(int)
        self._answers: dict[str, Sequence[Sequence[str]]] = {}

    def leads(self, name: str, *answers: Sequence[str]) -> None:
        self._answers[name] = answers
        self.asked[name] = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        answers = self._answers.get(host)
        if answers is None:
            raise OSError("unknown")
        said = answers[min(self.asked[host], len(answers) - 1)]
        self.asked[host] += 1
        return [ip_address(text) for text in said]
