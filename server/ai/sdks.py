"""The vendors' SDKs, imported when they are first needed, and kept from saying more than we mean to.

An SDK adds to a request what it finds in the environment (organisation, project, further headers) and what it likes to tell its vendor
(`x-stainless-*`). A user's provider is none of its vendors' business: the requests that they send are built here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

import httpx2

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

_NEVER = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that frame a message, which no configuration may set."""
_NOWHERE = "http://nowhere.invalid"
_UNUSED_KEY = "unused"
"""What an SDK is told, so that it looks for no key; it never gets as far as a request."""
_NO_PLATFORM: Literal["Unknown"] = "Unknown"
"""What it is told of the operating system: it would look for that in a thread, at each call, for a header that is taken off."""


def joined(base_url: str, path: str, *, without: Sequence[str]) -> str:
    """The address of a path, where `without` are endings of the base address that people leave there when they copy it."""
    for ending in without:
        base_url = base_url.removesuffix(ending)
    return base_url.rstrip("/") + path


def headers_of(authorization: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """What a request is sent with beside what frames it; `extra` are the configuration's, and win."""
    own = {name.lower(): value for name, value in extra.items() if name.lower() not in _NEVER}
    return {"user-agent": "promptsync", "accept-encoding": "identity", **authorization, **own}


def _request(client: Any, options: Any) -> httpx2.Request:
    """What one of the clients below sends for an SDK's options: the headers of its call, and those that say what the body is.

    The SDKs' own way takes three times as long, for headers that would have to be taken off again.
    """
    headers, content = {"accept": "application/json"}, None
    if options.json_data is not None:
        headers["content-type"] = "application/json"
        content = json.dumps(options.json_data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    extensions = {"timeout": options.timeout.as_dict()}
    return httpx2.Request(options.method, options.url, headers=headers | client.ours, content=content, extensions=extensions)


@asynccontextmanager
async def answer_of(
    client: AsyncOpenAI | AsyncAnthropic, url: str, timeout: httpx2.Timeout, body: Mapping[str, Any] | None = None
) -> AsyncIterator[httpx2.Response]:
    """What an SDK's client is answered at an address, the body not read yet: without a body of ours it is a GET.

    By the SDK's way to addresses of its user's (`client.post`), not by its method for a call: checking parameters that are to pass as they
    are took half of a call's 1.7 ms. Raises whatever the SDK and httpx2 raise.
    """
    how: dict[str, Any] = {"cast_to": object, "options": {"timeout": timeout}, "stream": True, "stream_cls": client.streams}  # type: ignore[union-attr]  # of the class below
    asked: Any = client.get(url, **how) if body is None else client.post(url, body=body, **how)
    async with await asked as stream:
        yield stream.response


class Sdks:
    """Their clients. Each is for one call, and carries that call's headers: a copy (2 us; making one takes 60) of one that knows nobody."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._blank: dict[Callable[[], Any], Any] = {}

    async def openai(self, headers: Mapping[str, str]) -> AsyncOpenAI:
        """OpenAI's client."""
        return await self._with(headers, _openai)  # type: ignore[no-any-return]  # made by _openai

    async def anthropic(self, headers: Mapping[str, str]) -> AsyncAnthropic:
        """Anthropic's client."""
        return await self._with(headers, _anthropic)  # type: ignore[no-any-return]  # made by _anthropic

    async def _with(self, headers: Mapping[str, str], load: Callable[[], Any]) -> Any:
        if load not in self._blank:
            self._blank[load] = (await _imported(load))(self._client)
        own = copy(self._blank[load])
        own.ours = headers
        return own


_made: dict[Any, Any] = {}


async def _imported(load: Any) -> Any:
    """What `load` gives, made once in a thread: importing takes a second or two of the processor."""
    if load not in _made:
        made = await asyncio.to_thread(load)
        _made.setdefault(load, made)
    return _made[load]


def _warmed(make: Callable[..., Any]) -> None:
    """Have an SDK make on this thread what it makes at its first calls, up to 0.1 s of work; nothing leaves the process."""

    async def call() -> None:
        nowhere = httpx2.MockTransport(lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b""))
        async with httpx2.AsyncClient(transport=nowhere, trust_env=False) as client:
            made = make(client)
            made.ours = {}
            async with answer_of(made, _NOWHERE, httpx2.Timeout(1.0), {}):
                pass

    asyncio.run(call())


def _openai() -> Any:
    import openai

    return _kept_quiet("openai", openai.AsyncOpenAI, openai.AsyncStream)


def _anthropic() -> Any:
    import anthropic

    return _kept_quiet("anthropic", anthropic.AsyncAnthropic, anthropic.AsyncStream)


def _kept_quiet(name: str, client_class: Any, stream_class: Any) -> Callable[[httpx2.AsyncClient], Any]:
    """What makes clients of an SDK that say what we mean to, and log nothing of it."""
    logging.getLogger(name).setLevel(logging.WARNING)  # whatever the environment has asked for: addresses and bodies are users' own

    class Client(client_class):  # type: ignore[misc]  # known when it is imported
        ours: Mapping[str, str]
        streams = stream_class[object]

        def _build_request(self, options: Any, *, retries_taken: int = 0) -> httpx2.Request:
            return _request(self, options)

    def make(client: httpx2.AsyncClient) -> Any:
        made = Client(api_key=_UNUSED_KEY, base_url=_NOWHERE, http_client=client, max_retries=0)
        made._platform = _NO_PLATFORM
        return made

    _warmed(make)
    return make
