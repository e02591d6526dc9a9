"""Anthropic's wire: messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from server.ai.calls import Message, Role, Target
from server.ai.readers import MessagesReader, Reader
from server.ai.sdks import Sdks, answer_of, headers_of, joined

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

MAX_TOKENS = 8192
"""Of an answer where the configuration does not say: Anthropic takes no call without a bound, and all its models make so many."""
_NOT_PARAMETERS = frozenset({"model", "messages", "system", "stream", "timeout", "apiKey", "api_key", "baseURL", "base_url"})
"""What a call is made of, which a configuration's parameters must not change."""
_VERSION = {"anthropic-version": "2023-06-01"}
"""Of the wire; each request names it: https://docs.anthropic.com/en/api/versioning"""
_DOORS = ("/messages", "/v1")
"""What people leave at the end of an address that they copy; `/v1/messages` is put there."""


class AnthropicWire:
    """Speaks to one target."""

    asks_usage = False

    def __init__(self, target: Target, sdks: Sdks) -> None:
        self._target = target
        self._sdks = sdks

    def reader(self) -> Reader:
        """A reader for one answer."""
        return MessagesReader()

    def limited(self, tokens: int) -> dict[str, Any]:
        """The parameter that bounds an answer."""
        return {"max_tokens": tokens}

    @asynccontextmanager
    async def asked(self, messages: Sequence[Message], params: dict[str, Any], timeout: httpx2.Timeout) -> AsyncIterator[httpx2.Response]:
        """The answer to a call, its body not read yet. Raises whatever the SDK and httpx2 raise."""
        said = [{"role": message.role.value, "content": message.content} for message in messages if message.role is not Role.SYSTEM]
        body: dict[str, Any] = {"model": self._target.model, "stream": True, "max_tokens": MAX_TOKENS, "messages": said}
        if system := "\n\n".join(message.content for message in messages if message.role is Role.SYSTEM):
            body["system"] = system  # the wire has no such role
        body |= {name: value for name, value in params.items() if name not in _NOT_PARAMETERS}
        async with answer_of(await self._client(), self._at("/v1/messages"), timeout, body) as response:
            yield response

    @asynccontextmanager
    async def models(self, timeout: httpx2.Timeout) -> AsyncIterator[httpx2.Response]:
        """The answer to what models there are, its body not read yet."""
        async with answer_of(await self._client(), self._at("/v1/models?limit=1000"), timeout) as response:
            yield response

    async def _client(self) -> AsyncAnthropic:
        secret = self._target.secret
        authorization = {"x-api-key": secret.api_key} if secret.api_key else {}
        return await self._sdks.anthropic(headers_of(_VERSION | authorization, secret.headers))

    def _at(self, path: str) -> str:
        return joined(self._target.base_url, path, without=_DOORS)
