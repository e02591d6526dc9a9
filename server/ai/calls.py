"""What is asked of a language model, and what comes back: the same for every provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from auth.model_secret import ModelSecret


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    content: str


class Purpose(StrEnum):
    """What a call is for, as usage tells it."""

    OPTIMIZE = "optimize"
    ITERATE = "iterate"
    VALIDATE = "validate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model that may be called, with everything that a call needs; made from a configuration, for one call."""

    config_id: str
    name: str
    """What people call it; the configuration's id where it has no name."""
    provider: str
    """An id of the catalogue: `openai`, `anthropic`, `deepseek`, …"""
    model: str
    base_url: str
    """Checked and rebuilt: no user, query, fragment or slash at the end."""
    request_style: str = "chat_completions"
    secret: ModelSecret = field(repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Those that the user has set, and no others; what the catalogue does not know passes through."""
    is_shared: bool = False
    """One of the operator's, called on the operator's account."""


class Usage(NamedTuple):
    """Tokens as the provider counts them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class Token(NamedTuple):
    """A piece of the answer's text."""

    text: str


class Reasoning(NamedTuple):
    """A piece of what a model thinks before it answers: never part of the answer."""

    text: str


class Finished(NamedTuple):
    """The answer is complete. `reason` is the provider's word for why it ends: `stop`, `length`, …"""

    reason: str
    usage: Usage


Piece: TypeAlias = Token | Reasoning | Finished
"""What a stream consists of: tokens and reasoning in their order, then `Finished`, once. A failure is raised as `ModelFailed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a model."""

    target: Target
    messages: Sequence[Message] = field(repr=False)
    purpose: Purpose
