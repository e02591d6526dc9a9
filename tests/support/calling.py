"""Calling models in tests: targets at the scripted provider, and what came of a call."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from auth.model_secret import ModelSecret
from server.ai.calls import Call, Finished, Message, Piece, Purpose, Reasoning, Role, Target, Token
from server.ai.failures import ModelFailed
from server.ai.wires import Wires
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


async def heard(wires: Wires, target: Target) -> Heard:
    """Call a model, and listen to the end."""
    found = Heard()
    try:
        async with aclosing(wires.stream(call_of(target))) as pieces:
            async for piece in pieces:
                found.pieces.append(piece)
    except ModelFailed as error:
        found.failed = error
    return found
