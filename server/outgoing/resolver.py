"""Where names lead: the system's resolver, asked in threads of its own."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Thread
from typing import TypeAlias

MAX_LOOKUPS = 64
"""Names that a process looks up at a time, a thread of some 20 KB each. A name whose servers do not answer keeps its thread for the
resolver's own time (10 to 30 s), whoever has stopped waiting. Past it: refused at once, and tried again by whoever asks."""

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""What answers where a name (or an address, which leads to itself) leads. Raises OSError where it leads nowhere."""


class Resolver:
    """The system's resolver: `/etc/hosts`, then DNS. Nothing is kept: each connection asks anew.

    Threads of our own, as the event loop's are few, and shared: four hanging names would stop what else is done in threads. They end
    with the process, which waits for none of them.
    """

    def __init__(self, lookup: Callable[[str, int], Sequence[Address]] | None = None) -> None:
        self._lookup = lookup or system_lookup
        self._running = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of the host, the one to be tried first in front.

        Raises:
            OSError: it has none, nobody knows it, or too many names are being looked up.
        """
        with suppress(ValueError):
            return [ip_address(host)]
        if self._running >= MAX_LOOKUPS:
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Address]] = loop.create_future()

        def settle(found: Sequence[Address] | OSError) -> None:
            self._running -= 1
            if answer.done():
                return  # nobody waits any more
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def work() -> None:
            found: Sequence[Address] | OSError
            try:
                found = self._lookup(host, port)
            except OSError as error:
                found = error
            except Exception as error:  # UnicodeError and ValueError for what is no name to Python
                found = OSError(type(error).__name__)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found)

        self._running += 1
        try:
            Thread(target=work, name="resolver", daemon=True).start()
        except RuntimeError as error:
            self._running -= 1
            raise OSError("no thread can be started") from error
        return await answer


def system_lookup(host: str, port: int) -> Sequence[Address]:
    """The addresses that getaddrinfo gives, in its order. Blocks. Raises OSError, or UnicodeError for what is no name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
