"""OpenAI's wire, which nearly all providers speak: chat completions, and responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from server.ai.calls import Message, Target
from server.ai.providers import PROVIDERS, RESPONSES
from server.ai.readers import ChatReader, Reader, ResponsesReader
from server.ai.sdks import Sdks, headers_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NOT_PARAMETERS = frozenset({"model", "messages", "input", "stream", "timeout", "apiKey", "api_key", "baseURL", "base_url"})
"""What a call is made of, which a configuration's parameters must not change."""
_DOORS = ("/chat/completions", "/responses")
"""What people leave at the end of an address that they copy."""


class OpenAIWire:
    """Speaks to one target."""

    def __init__(self, target: Target, sdks: Sdks) -> None:
        self._target = target
        self._sdks = sdks
        self._responses = target.request_style == RESPONSES
        self.asks_usage = not self._responses
        """Whether the stream is asked to end with the usage; a few servers take no such question."""

    def reader(self) -> Reader:
        """A reader for one answer."""
        return ResponsesReader() if self._responses else ChatReader()

    def limited(self, tokens: int) -> dict[str, Any]:
        """The parameter that bounds an answer."""
        provider = PROVIDERS.get(self._target.provider)
        return {"max_output_tokens" if self._responses else provider.limit if provider else "max_tokens": tokens}

    @asynccontextmanager
    async def asked(self, messages: Sequence[Message], params: dict[str, Any], timeout: httpx2.Timeout) -> AsyncIterator[httpx2.Response]:
        """The answer to a call, its body not read yet. Raises whatever the SDK and httpx2 raise."""
        client = await self._client()
        said = [{"role": message.role.value, "content": message.content} for message in messages]
        body = {name: value for name, value in params.items() if name not in _NOT_PARAMETERS}
        create: Any = client.chat.completions.create
        given: dict[str, Any] = {"messages": said}
        if self._responses:
            create, given = client.responses.create, {"input": said}
        elif self.asks_usage and "stream_options" not in body:
            given["stream_options"] = {"include_usage": True}
        async with await create(model=self._target.model, stream=True, **given, extra_body=body, timeout=timeout) as stream:
            yield stream.response

    @asynccontextmanager
    async def models(self, timeout: httpx2.Timeout) -> AsyncIterator[httpx2.Response]:
        """The answer to what models there are, its body not read yet."""
        client = await self._client()
        from openai import AsyncStream  # the client has it loaded

        # as a stream, which is read no further than its bound
        listing = client.get("/models", cast_to=object, options={"timeout": timeout}, stream=True, stream_cls=AsyncStream[object])
        async with await listing as stream:
            yield stream.response

    async def _client(self) -> AsyncOpenAI:
        secret, url = self._target.secret, self._target.base_url
        for door in _DOORS:
            url = url.removesuffix(door)
        authorization = {"authorization": f"Bearer {secret.api_key}"} if secret.api_key else {}
        return await self._sdks.openai(url, headers_of(authorization, secret.headers))
