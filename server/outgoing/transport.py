"""Requests to checked addresses, and answers within bounds: what the guarded client sends with."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import httpcore2
import httpx2

from server.outgoing.addresses import HTTPS_PORT, check_place, checked_host, host_and_port
from server.outgoing.errors import AnswerCompressed, AnswerTooLarge, Redirected, RefusedAddress, TotalTimeout
from server.time_limit import TimeLimit

MAX_ANSWER_BYTES = 32 << 20
"""Of one answer, streamed or not: the longest that models give have some 20 MiB as events. Past it: AnswerTooLarge, the rest is not read.
The head of an answer has h11's own bound, 100 KiB; past that: RemoteProtocolError."""
MIN_PIECE_BYTES = 64
"""What each piece of an answer counts as at least: one of a single byte costs as much time as one of many."""
PIECES_A_TURN = 32
"""Pieces handed on before others have their turn: a single read may hold thousands of tiny ones, without a wait between them."""

_KINDS = (
    *("ConnectError", "ConnectTimeout", "NetworkError", "PoolTimeout", "ReadError", "ReadTimeout", "TimeoutException", "WriteError"),
    *("LocalProtocolError", "ProtocolError", "RemoteProtocolError", "UnsupportedProtocol", "WriteTimeout"),
)
_ERRORS: Mapping[type, type[httpx2.TransportError]] = {getattr(httpcore2, kind): getattr(httpx2, kind) for kind in _KINDS}


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests through a pool, after a look at where to, and hands answers on piece by piece.

    `allowed` is the operator's list of `host:port`. `timeouts` are the longest that a request may ask for (seconds, by the names of
    httpx2: connect, read, write, pool); `seconds` is what the whole of one request may take.
    """

    def __init__(
        self,
        pool: httpcore2.AsyncConnectionPool,
        *,
        allowed: Collection[str],
        timeouts: Mapping[str, float],
        seconds: float,
        port: int = HTTPS_PORT,
    ) -> None:
        self._pool = pool
        self._allowed = frozenset(allowed)
        self._timeouts = timeouts
        self._seconds = seconds
        self._port = port

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer's status and headers, its body still to be read.

        Raises:
            httpx2.TransportError: no answer that is read here; of a refused address, `refusal_in` finds the refusal.
        """
        deadline = asyncio.get_running_loop().time() + self._seconds
        with _told_as_httpx2():
            asked = self._asked(request)
            async with asyncio.timeout_at(deadline):
                answer = await self._pool.handle_async_request(asked)
        try:
            _check(answer)
        except httpx2.TransportError:
            await answer.aclose()
            raise
        return httpx2.Response(
            status_code=answer.status,
            # one client asks for all users: nobody's cookies are kept for the next
            headers=[(name, value) for name, value in answer.headers if name.lower() != b"set-cookie"],
            stream=_Body(answer, deadline),
            extensions={name: answer.extensions[name] for name in ("http_version", "reason_phrase") if name in answer.extensions},
        )

    async def aclose(self) -> None:
        await self._pool.aclose()

    def _asked(self, request: httpx2.Request) -> httpcore2.Request:
        host = checked_host(request.url.raw_host.decode("ascii"))
        check_place(request.url.scheme, host, request.url.port, allowed=self._allowed, port=self._port)
        # whatever a configuration's own headers say
        request.headers["Host"] = host_and_port(host, request.url.port)
        request.headers["Accept-Encoding"] = "identity"
        given = request.extensions.get("timeout", {})
        timeouts = {name: min(bound, given.get(name) or bound) for name, bound in self._timeouts.items()}
        return httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=request.url.raw_scheme, host=host.encode("ascii"), port=request.url.port, target=request.url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={"timeout": timeouts},
        )


class _Body(httpx2.AsyncByteStream):
    """An answer's body, until it is too large or its time is over."""

    def __init__(self, answer: httpcore2.Response, deadline: float) -> None:
        self._answer = answer
        self._limit = TimeLimit(deadline)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._answer.aiter_stream())
        size = 0
        count = 0
        while (piece := await self._next(pieces)) is not None:
            size += max(len(piece), MIN_PIECE_BYTES)
            if size > MAX_ANSWER_BYTES:
                await self.aclose()
                raise AnswerTooLarge("more than one answer may have")
            yield piece
            count += 1
            if count % PIECES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            return await self._limit.of(anext(pieces, None))
        except Exception as error:
            _raise_as_httpx2(error)

    async def aclose(self) -> None:
        self._limit.close()
        await self._answer.aclose()


def _check(answer: httpcore2.Response) -> None:
    if answer.status < 200 or 300 <= answer.status < 400:
        raise Redirected(f"status {answer.status}")
    encodings = [value for name, value in answer.headers if name.lower() == b"content-encoding"]
    if any(encoding.strip().lower() != b"identity" for encoding in encodings):
        raise AnswerCompressed("compressed")


@contextmanager
def _told_as_httpx2() -> Iterator[None]:
    """A block whose errors are httpx2's, as every client of it expects them. Their causes say more."""
    try:
        yield
    except Exception as error:
        _raise_as_httpx2(error)


def _raise_as_httpx2(error: Exception) -> NoReturn:
    match error:
        case RefusedAddress():
            raise httpx2.ConnectError("this address is not asked") from error
        case TimeoutError():
            raise TotalTimeout("longer than a call may take") from error
        case OSError():
            raise httpx2.ReadError(type(error).__name__) from error
    kind = next((_ERRORS[kind] for kind in type(error).__mro__ if kind in _ERRORS), None)
    if kind is None:
        raise error
    raise kind(str(error)) from error
