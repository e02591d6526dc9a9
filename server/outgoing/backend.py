"""Connections to addresses that were checked: looked up, checked and connected to in one step.

Between a check and a connection nothing is looked up again, so a name that leads elsewhere a moment later (DNS rebinding) changes
nothing. A connection that is kept is one to an address that was checked; it stays where it is, wherever its name leads meanwhile.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

import httpcore2

from server.outgoing.addresses import host_and_port
from server.outgoing.connection import connected
from server.outgoing.errors import Reason, RefusedAddress
from server.outgoing.resolver import Address, Resolve

MAX_ADDRESSES = 64
"""That one name may lead to; providers' have below ten. Past it: refused, as not all of them would be looked at."""
TRIED = 3
"""Addresses that are tried one after the other, the time for connecting shared among them. Past it: unreachable."""


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections to public addresses, and to those that the operator allows, for httpcore2."""

    def __init__(self, resolve: Resolve, is_public: Callable[[Address], bool], allowed: Collection[str]) -> None:
        self._resolve = resolve
        self._is_public = is_public
        self._allowed = frozenset(allowed)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first address of the host that takes one, within `timeout` seconds, looking up included.

        Raises:
            RefusedAddress: one of the host's addresses is not public, and the operator does not allow the host.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: it cannot be reached.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked(host, port)
                return await self._connected(addresses[:TRIED], port, timeout)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Raises RefusedAddress: a socket of this machine is never public."""
        raise RefusedAddress(Reason.PRIVATE)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> Sequence[Address]:
        try:
            addresses = await self._resolve(host, port)
        except TimeoutError:
            raise
        except OSError as error:
            raise httpcore2.ConnectError("the name leads nowhere") from error
        if not addresses:
            raise httpcore2.ConnectError("the name leads nowhere")
        if host_and_port(host, port) not in self._allowed and not (
            len(addresses) <= MAX_ADDRESSES and all(self._is_public(address) for address in addresses)
        ):
            raise RefusedAddress(Reason.PRIVATE)
        return addresses

    async def _connected(
        self,
        addresses: Sequence[Address],
        port: int,
        timeout: float | None,
    ) -> httpcore2.AsyncNetworkStream:
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                # an address: there is nothing left to look up
                return await connected(str(address), port, share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        assert failure is not None  # noqa: S101  # there is at least one address
        raise failure
