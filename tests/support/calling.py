"""Calling models in tests: targets at the scripted provider, and what came of a call."""

import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from auth.model_secret import ModelSecret
from server.ai.calls import Call, Finished, Message, Piece, Purpose, Reasoning, Role, Target, Token
from server.ai.failures import ModelFailed
from server.ai.listed_models import ListedModel
from server.ai.model_caller import ModelCaller
from server.ai.wires import Wires
from server.config import Settings
from server.outgoing.client import make_client
from tests.support.scripted_provider import ScriptedProvider

KEY = "sk-canary-Zq4TnV7pLw2XyB9dRk3m"
WIRES = ("chat", "responses", "anthropic", "gemini")
_PROVIDERS = {"chat": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}
_PATHS = {"chat": "/v1", "responses": "/v1", "anthropic": "", "gemini": "/v1beta/openai"}
ASKED = (Message(Role.SYSTEM, "You improve prompts."), Message(Role.USER, "写周报 😀"))


def target_at(provider: ScriptedProvider, wire: str = "chat", **more: Any) -> Target:
    """A target of this provider on one of `WIRES`."""
    fields: dict[str, Any] = {
        "config_id": "mine",
        "name": "mine",
        "provider": _PROVIDERS.get(wire, wire),
        "model": "gpt-5-mini",
        "base_url": provider.url + _PATHS.get(wire, "/v1"),
        "request_style": "responses" if wire == "responses" else "chat_completions",
        "secret": ModelSecret(KEY),
    }
    return Target(**{**fields, **more})


def call_of(target: Target, messages: Sequence[Message] = ASKED) -> Call:
    return Call(target=target, messages=messages, purpose=Purpose.OPTIMIZE)


@dataclass
class Heard:
    """What came of a call."""

    pieces: list[Piece] = field(default_factory=list)
    failed: ModelFailed | None = None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Token))

    @property
    def reasoning(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Reasoning))

    @property
    def finished(self) -> Finished:
        assert self.failed is None, (self.failed, self.failed.said)
        last = self.pieces[-1]
        assert isinstance(last, Finished)
        return last


class InThisProcess:
    """A `ModelCaller` for tests that do not care where models are called from: a process takes 1.5 s to start. Made at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Wires | None = None

    @property
    def wires(self) -> Wires:
        if self._made is None:
            self._made = Wires(make_client(self._settings), self._settings)
        return self._made

    def stream(self, call: Call) -> AsyncGenerator[Piece, None]:
        return self.wires.stream(call)

    async def check(self, target: Target) -> None:
        await self.wires.check(target)

    async def list_models(self, target: Target) -> Sequence[ListedModel]:
        return await self.wires.list_models(target)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


async def heard(caller: ModelCaller, target: Target) -> Heard:
    """Call a model, and listen to the end."""
    found = Heard()
    try:
        async with aclosing(caller.stream(call_of(target))) as pieces:
            async for piece in pieces:
                found.pieces.append(piece)
    except ModelFailed as error:
        found.failed = error
    return found


def model_processes_of(pid: int) -> list[int]:
    """The processes that call models for this one."""
    listed = subprocess.run(["pgrep", "-P", str(pid), "-f", "server.ai.model_worker"], capture_output=True, text=True, check=False)
    return [int(child) for child in listed.stdout.split()]
