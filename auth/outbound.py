"""Asking other providers over HTTP, bounded in time and size: no redirects, no compression, nothing from the environment."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2

from auth.errors import ProviderUnavailable

TOTAL_SECONDS = 8.0
"""What one question may take, connecting included: whoever signs in waits for it. Past it: 503."""
MAX_ANSWER_BYTES = 256 << 10
"""Of one answer; key sets and tokens are a few kilobytes. Past it: 503, and no more of it is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object that came with status 200, and the headers (names in lower case) beside it."""

    content: Mapping[str, Any]
    headers: Mapping[str, str]


class _TooLarge(Exception):
    """More came than one answer may have."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise _TooLarge
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Connections whose answers are cut off past the bound. What is compressed is refused: its size says nothing."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=trusted(), trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise ProviderUnavailable("compressed")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # what came over a socket; tells the type checker
        response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """A block that talks to a provider, with all that may go wrong on the way as one error.

    Raises:
        ProviderUnavailable: it took too long, too much came, or the way there is broken. Addresses and answers are not repeated.
    """
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, _TooLarge) as error:
        raise ProviderUnavailable(type(error).__name__.lstrip("_")) from error


async def fetch(url: str) -> Answer:
    """The JSON object at this address.

    Raises:
        ProviderUnavailable: it cannot be had, or is none.
    """
    async with asking(), httpx2.AsyncClient(transport=BoundedTransport(), trust_env=False, follow_redirects=False) as client:
        response = await client.get(url, headers={"Accept": "application/json"})
        if response.status_code != httpx2.codes.OK:
            raise ProviderUnavailable(f"status {response.status_code}")
        try:
            content = response.json()
        except (ValueError, RecursionError) as error:
            raise ProviderUnavailable("not JSON") from error
    if not isinstance(content, dict):
        raise ProviderUnavailable("not a JSON object")
    return Answer(content, {name.lower(): value for name, value in response.headers.items()})


@cache
def trusted() -> ssl.SSLContext:
    """Certificates as the system trusts them, whatever the environment says. Made once: it takes 20 to 40 ms."""
    return httpx2.create_ssl_context(trust_env=False)
