"""OpenAI's wire, which nearly all providers speak: chat completions, and responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from server.ai.calls import Message, Target
from server.ai.gemini import compatible_params, compatible_url
from server.ai.providers import PROVIDERS, RESPONSES
from server.ai.readers import ChatReader, Reader, ResponsesReader
from server.ai.sdks import Sdks, answer_of, headers_of, joined

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NOT_PARAMETERS = frozenset({"model", "messages", "input", "stream", "timeout", "apiKey", "api_key", "baseURL", "base_url"})
"""What a call is made of, which a configuration's parameters must not change."""
_DOORS = ("/chat/completions", "/responses")
"""What people leave at the end of an address that they copy."""
_GEMINI = "gemini"


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
        said = [{"role": message.role.value, "content": message.content} for message in messages]
        body: dict[str, Any] = {"model": self._target.model, "stream": True, "input" if self._responses else "messages": said}
        if self.asks_usage:
            body["stream_options"] = {"include_usage": True}
        if self._target.provider == _GEMINI:
            params = compatible_params(params)
        body |= {name: value for name, value in params.items() if name not in _NOT_PARAMETERS}
        door = "/responses" if self._responses else "/chat/completions"
        async with answer_of(await self._client(), self._at(door), timeout, body) as response:
            yield response

    @asynccontextmanager
    async def models(self, timeout: httpx2.Timeout) -> AsyncIterator[httpx2.Response]:
        """The answer to what models there are, its body not read yet."""
        async with answer_of(await self._client(), self._at("/models"), timeout) as response:
            yield response

    async def _client(self) -> AsyncOpenAI:
        secret = self._target.secret
        authorization = {"authorization": f"Bearer {secret.api_key}"} if secret.api_key else {}
        return await self._sdks.openai(headers_of(authorization, secret.headers))

    def _at(self, path: str) -> str:
        base_url = self._target.base_url
        if self._target.provider == _GEMINI:
            base_url = compatible_url(base_url)
        return joined(base_url, path, without=_DOORS)
