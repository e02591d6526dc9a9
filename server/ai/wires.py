"""How models are called, whatever provider has them: one stream of pieces, one kind of failure, bounds on bytes and time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, closing
from typing import Any, Protocol

import httpx2
from httpx2 import EventSource

from auth.model_secret import ModelSecret
from server.ai.anthropic_wire import AnthropicWire
from server.ai.calls import Call, Finished, Message, Piece, Role, Target, Token
from server.ai.failures import ModelFailed, Outcome
from server.ai.listed_models import ListedModel, listed_in
from server.ai.masking import masked
from server.ai.model_caller import CHECK_SECONDS
from server.ai.openai_wire import OpenAIWire
from server.ai.providers import PROVIDERS, Spoken
from server.ai.readers import KNOWN_ENDINGS, Reader
from server.ai.refusals import is_refusal, refusal_of
from server.ai.sdks import Sdks
from server.ai.troubles import Broken, Said, Trouble, trouble_of
from server.config import Settings
from server.time_limit import TimeLimit

MAX_TEXT = 1 << 20
"""Characters of an answer, what the model thinks included: four times the longest prompt that is stored. Past it: TOO_LARGE."""
MAX_EVENT_BYTES = 8 << 20
"""Of one event of a stream: the last one of responses repeats the whole answer, six bytes a character. Past it: TOO_LARGE."""
MAX_LIST_BYTES = 4 << 20
"""Of a list of models; OpenRouter's, the longest known, has 0.8 MB. Past it: TOO_LARGE."""
MAX_EXTRA_BYTES = 1 << 20
"""Of an answer that is JSON where a stream was asked for: it is read for the failure that it tells of."""
MAX_ATTEMPTS = 3
"""Of one call: the second and third only where nothing has come yet and asking again may help."""
BACKOFF_SECONDS = 0.5
"""Before the second attempt, twice that before the third, each half to whole by chance, so that callers do not come back all at once."""
CLOSING_SECONDS = 2.0
"""How long the usage is waited for once an answer is complete."""
LAST_SECONDS = 0.1
"""How long the end of the stream is waited for after its last event: a connection whose answer has been read can be used again."""
CHECK_TOKENS = 16
"""Of the answer to a check: the fewest that responses take."""
CHECK = (Message(Role.USER, "Please reply ok"),)
_USAGE_QUESTION = ("stream_options", "include_usage")
_SHOWN_BY_THE_LIST = frozenset(
    {
        *(Outcome.INVALID_KEY, Outcome.NO_QUOTA, Outcome.RATE_LIMITED, Outcome.REFUSED_ADDRESS),
        *(Outcome.UNREACHABLE, Outcome.TIMEOUT),
    }
)
"""What asking for the list settles; of everything else only a call tells."""


class Wire(Protocol):
    """How one target is spoken to."""

    asks_usage: bool

    def reader(self) -> Reader: ...
    def limited(self, tokens: int) -> dict[str, Any]: ...
    def asked(
        self, messages: Sequence[Message], params: dict[str, Any], timeout: httpx2.Timeout
    ) -> AbstractAsyncContextManager[httpx2.Response]: ...
    def models(self, timeout: httpx2.Timeout) -> AbstractAsyncContextManager[httpx2.Response]: ...


class Wires:
    """A `ModelCaller` in this process, over one guarded client, which it closes."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        settings: Settings,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._client = client
        self._sdks = Sdks(client)
        self._chance = chance

    async def stream(self, call: Call) -> AsyncGenerator[Piece, None]:
        """As `ModelCaller.stream`."""
        answered = False
        async with aclosing(self._pieces(call.target, call.messages, dict(call.target.params))) as pieces:
            async for piece in pieces:
                if isinstance(piece, Finished) and not answered:
                    raise ModelFailed(Outcome.EMPTY)
                answered = answered or (isinstance(piece, Token) and not piece.text.isspace())
                yield piece

    async def check(self, target: Target) -> None:
        """As `ModelCaller.check`. The list comes first where it is not for everybody: it costs nothing, and a wrong key ends there."""
        provider = PROVIDERS.get(target.provider)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                if provider is None or not provider.list_is_public:
                    await self._knock(target)
                wire = self._wire(target)
                async with aclosing(self._pieces(target, CHECK, wire.limited(CHECK_TOKENS), attempts=1)) as pieces:
                    async for _ in pieces:
                        pass
        except TimeoutError:
            raise ModelFailed(Outcome.TIMEOUT) from None

    async def list_models(self, target: Target) -> Sequence[ListedModel]:
        """As `ModelCaller.list_models`."""
        try:
            return await self._list(target)
        except Trouble as trouble:
            raise trouble.failed from None

    async def close(self) -> None:
        """As `ModelCaller.close`."""
        await self._client.aclose()

    async def _knock(self, target: Target) -> None:
        """Raises ModelFailed where the list of models shows already that no call can succeed."""
        try:
            await self._list(target)
        except Trouble as trouble:
            if trouble.failed.outcome not in _SHOWN_BY_THE_LIST or trouble.status == httpx2.codes.FORBIDDEN:
                return  # a provider without a list, or a key that may not read it, can still have the model
            raise trouble.failed from None

    async def _list(self, target: Target) -> Sequence[ListedModel]:
        """Raises Trouble."""
        try:
            async with asyncio.timeout(CHECK_SECONDS), self._wire(target).models(self._timeout()) as response:
                return listed_in(json.loads(await _whole(response, MAX_LIST_BYTES)))
        except Exception as error:
            raise trouble_of(error, target.secret, answered=False) from None

    async def _pieces(
        self, target: Target, messages: Sequence[Message], params: dict[str, Any], attempts: int = MAX_ATTEMPTS
    ) -> AsyncGenerator[Piece, None]:
        """As `stream`, of an empty answer too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _seconds(params.get("timeout"), self._settings.model_call_seconds)
        wire = self._wire(target)
        attempt = 1
        while True:
            begun = False
            try:
                async with aclosing(self._attempt(wire, target, messages, params, deadline)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except Trouble as raised:
                trouble = raised
            if not begun and wire.asks_usage and _minds_the_question(trouble):
                wire.asks_usage = False
                continue
            wait = max(trouble.wait or 0, BACKOFF_SECONDS * 2 ** (attempt - 1) * (1 + self._chance()) / 2)
            if begun or trouble.wait is None or attempt >= attempts or loop.time() + wait >= deadline:
                raise trouble.failed from None
            attempt += 1
            await asyncio.sleep(wait)

    async def _attempt(
        self, wire: Wire, target: Target, messages: Sequence[Message], params: dict[str, Any], deadline: float
    ) -> AsyncGenerator[Piece, None]:
        """One request, and the pieces of its answer. Raises Trouble."""
        answered = False
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(deadline):
                    response = await stack.enter_async_context(wire.asked(messages, params, self._timeout()))
                    answered = True
                    await _require_events(response)
                limit = stack.enter_context(closing(TimeLimit(deadline)))
                async with aclosing(_read(response, wire.reader(), limit)) as pieces:
                    async for piece in pieces:
                        yield _shown(piece, target.secret) if isinstance(piece, Finished) else piece
        except Exception as error:
            raise trouble_of(error, target.secret, answered=answered) from None

    def _wire(self, target: Target) -> Wire:
        provider = PROVIDERS.get(target.provider)
        if provider is not None and provider.spoken is Spoken.ANTHROPIC:
            return AnthropicWire(target, self._sdks)
        return OpenAIWire(target, self._sdks)

    def _timeout(self) -> httpx2.Timeout:
        idle, connect = self._settings.model_idle_seconds, self._settings.model_connect_seconds
        return httpx2.Timeout(idle, connect=connect, pool=connect)


async def _read(response: httpx2.Response, reader: Reader, limit: TimeLimit) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer. Raises Said, Broken, TimeoutError, and what httpx2 raises."""
    size = 0
    async with aclosing(aiter(EventSource(response, MAX_EVENT_BYTES))) as events:  # type: ignore[type-var]  # a generator
        while True:
            try:
                event = await limit.of(anext(events, None))
                if event is None:
                    break
                if reader.done or not event.data:
                    continue
                read = reader.read("[DONE]" if event.data.startswith("[DONE]") else json.loads(event.data))
            except Exception:
                if not reader.ended:
                    raise
                break  # the answer is whole
            for piece in read:
                size += len(piece.text)
                yield piece
            if size > MAX_TEXT:
                raise Broken(Outcome.TOO_LARGE)
            if reader.ended:
                limit.shorten(LAST_SECONDS if reader.done else CLOSING_SECONDS)
            if reader.done:  # nobody waits for what is still read
                for last in _ending(reader):
                    yield last
    if not reader.done:
        for last in _ending(reader):
            yield last


def _shown(end: Finished, secret: ModelSecret) -> Finished:
    """The same end, fit to be kept: a provider may give any text for its reason."""
    return end if end.reason in KNOWN_ENDINGS else end._replace(reason=masked(end.reason, secret))


def _ending(reader: Reader) -> Iterator[Piece]:
    """What was held back, and the end. Raises Broken for an answer that broke off, or ends badly."""
    held, finished = reader.finish()
    yield from held
    if finished is None:
        raise Broken(Outcome.CUT_OFF)
    yield finished


async def _require_events(response: httpx2.Response) -> None:
    """Raises Said for a failure that is told with a good status, Broken for whatever else is no stream."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return
    if "json" in kind:
        content = json.loads(await _whole(response, MAX_EXTRA_BYTES))
        if is_refusal(content):
            raise Said(refusal_of(None, content))
    raise Broken(Outcome.FAILED, "the provider does not answer with a stream")


async def _whole(response: httpx2.Response, most: int) -> bytes:
    """The body. Raises Broken for one that is longer."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most:
            raise Broken(Outcome.TOO_LARGE)
        parts.append(part)
    return b"".join(parts)


def _minds_the_question(trouble: Trouble) -> bool:
    """Whether a server refuses to be asked for the usage, as some that speak as OpenAI does."""
    refusal = trouble.refusal
    return refusal is not None and refusal.status in (400, 422) and any(name in refusal.message for name in _USAGE_QUESTION)


def _seconds(milliseconds: Any, most: float) -> float:
    """How long a call may take: what the configuration says, as apps write it, but no longer than the server allows."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds > 0:
        return most
    return min(milliseconds / 1000, most)
