"""What the events of a stream mean, one small reader for each wire. They take JSON that has been read, and believe nothing of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from server.ai.calls import Finished, Reasoning, Token, Usage
from server.ai.failures import Outcome
from server.ai.refusals import is_refusal, refusal_of
from server.ai.thinking import Joined, Thinking
from server.ai.troubles import Broken, Said

MAX_TOKENS = 1 << 40
"""Tokens of a call; what claims more is not believed."""
_FILTERED = frozenset({"content_filter", "refusal", "sensitive", "safety", "prohibited_content"})
_TROUBLED = frozenset({"error", "network_error", "insufficient_system_resource"})
"""Endings that are a provider's own trouble: OpenRouter's, Zhipu's, DeepSeek's."""
_ENDINGS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "max_output_tokens": "length", "eos": "stop"}
"""Vendors' words for why an answer ends, in those of chat completions."""
KNOWN_ENDINGS = frozenset(_ENDINGS.values())

Pieces = Sequence[Token | Reasoning]


class Reader(Protocol):
    """Reads one stream."""

    done: bool
    """Nothing more is to come."""

    @property
    def ended(self) -> bool:
        """The answer is complete; what else may come is its usage."""

    def read(self, event: Any) -> Pieces:
        """What this event brings. Raises Said for an error event, Broken for one that makes no sense."""

    def finish(self) -> tuple[Pieces, Finished | None]:
        """What was held back, and how the answer ended; None: it did not, it broke off. Raises Broken for a bad end."""


class _Reading:
    def __init__(self) -> None:
        self.done = False
        self._reason: str | None = None
        self._given: int | None = None
        self._made: int | None = None
        self._thinking = Thinking()
        self._thoughts = Joined()

    @property
    def ended(self) -> bool:
        return self._reason is not None

    def _thought(self, text: Any) -> Pieces:
        whole = self._thoughts.feed(_text(text))
        return [Reasoning(whole)] if whole else ()

    def finish(self) -> tuple[Pieces, Finished | None]:
        left = self._thinking.end()
        if self._reason is None:
            return left, None
        return left, Finished(self._reason, Usage(self._given, self._made))

    def _ends(self, reason: Any) -> None:
        if not isinstance(reason, str) or not reason:
            return
        word = reason.lower()
        if any(word.startswith(each) for each in _FILTERED):
            raise Broken(Outcome.REJECTED, "the provider's filter has ended the answer")
        if word in _TROUBLED:
            raise Broken(Outcome.FAILED)
        self._reason = _ENDINGS.get(word, reason[:40])

    def _count(self, usage: Any, given: str, made: str) -> None:
        if isinstance(usage, dict):
            self._given = _number(usage.get(given), self._given)
            self._made = _number(usage.get(made), self._made)


class ChatReader(_Reading):
    """Reads chat completions: https://platform.openai.com/docs/api-reference/chat-streaming and what others have made of it."""

    def read(self, event: Any) -> Pieces:
        if event == "[DONE]":
            self.done = True
            self._reason = self._reason or "stop"
            return ()
        content = _mapping(event)
        if is_refusal(content):
            raise Said(refusal_of(None, content))
        self._count(content.get("usage"), "prompt_tokens", "completion_tokens")
        pieces: list[Token | Reasoning] = []
        for choice in _list(content.get("choices")):
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict):
                if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                    pieces += self._thought(thought)
                if isinstance(text := delta.get("content"), str) and text:
                    pieces += self._thinking.feed(text)
            self._ends(choice.get("finish_reason"))
        return pieces


class ResponsesReader(_Reading):
    """Reads responses: https://platform.openai.com/docs/api-reference/responses-streaming"""

    def read(self, event: Any) -> Pieces:
        content = _mapping(event)
        match content.get("type"):
            case "response.output_text.delta":
                return self._thinking.feed(_text(content.get("delta")))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self._thought(content.get("delta"))
            case "response.completed":
                self._whole(content, "stop")
            case "response.incomplete":
                details = _mapping(content.get("response")).get("incomplete_details")
                self._whole(content, _text(_mapping(details or {}).get("reason")) or "length")
            case "response.failed":
                raise Said(refusal_of(None, _mapping(content.get("response"))))
            case "error":
                raise Said(refusal_of(None, content))
            case _ if is_refusal(content):
                raise Said(refusal_of(None, content))
        return ()

    def _whole(self, content: Mapping[str, Any], reason: str) -> None:
        self.done = True
        self._count(_mapping(content.get("response")).get("usage"), "input_tokens", "output_tokens")
        self._ends(reason)


class MessagesReader(_Reading):
    """Reads messages: https://docs.anthropic.com/en/api/messages-streaming"""

    def read(self, event: Any) -> Pieces:
        content = _mapping(event)
        match content.get("type"):
            case "content_block_delta":
                return self._delta(_mapping(content.get("delta")))
            case "message_start":
                self._count(_mapping(content.get("message")).get("usage"), "input_tokens", "output_tokens")
            case "message_delta":
                self._count(content.get("usage"), "input_tokens", "output_tokens")
                self._ends(_mapping(content.get("delta")).get("stop_reason"))
            case "message_stop":
                self.done = True
                self._reason = self._reason or "stop"
            case "error":
                raise Said(refusal_of(None, content))
        return ()

    def _delta(self, delta: Mapping[str, Any]) -> Pieces:
        match delta.get("type"):
            case "text_delta":
                return self._thinking.feed(_text(delta.get("text")))
            case "thinking_delta":
                return self._thought(delta.get("thinking"))
        return ()


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Broken(Outcome.FAILED)
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any, before: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else before
