"""What a model answers, gathered while it comes, and made into a prompt's text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from server.ai.calls import Finished, Piece, Reasoning, Token, Usage
from server.ai.failures import ModelFailed, Outcome

MAX_RESULT = 256 << 10
"""Characters of a result, as many as a prompt's text may have. Past it the call has failed: `too_large`."""
MAX_REASONING = 64 << 10
"""Characters of reasoning that are kept for the answer; what comes after is shown to who reads along, and not kept."""
# possessive: who answers must not be able to have every length of a fence tried
_FENCED = re.compile(r"\A(?P<fence>`{3,}+|~{3,}+)[^\n`]*+\n(?P<inside>.*)\n(?P=fence)\s*\Z", re.DOTALL)
# what PostgreSQL and C strings end at, and halves of characters: neither can be stored
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(slots=True)
class Result:
    """What has come so far. `usage` and `reason` are the provider's, once it has finished."""

    usage: Usage = field(default_factory=Usage)
    reason: str = ""
    milliseconds: int = 0
    _tokens: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _length: int = 0
    _reasoned: int = 0

    def take(self, piece: Piece) -> None:
        """Keep a piece. Raises ModelFailed: more has come than a prompt may have."""
        match piece:
            case Token(text):
                self._length += len(text)
                if self._length > MAX_RESULT:
                    raise ModelFailed(Outcome.TOO_LARGE)
                self._tokens.append(text)
            case Reasoning(text):
                self._reasoning.append(text[: max(0, MAX_REASONING - self._reasoned)])
                self._reasoned += len(text)
            case Finished(reason, usage):
                self.reason, self.usage = reason, usage

    @property
    def text(self) -> str:
        """The prompt: what was answered, without the space and the one code fence around all of it."""
        return unfenced(_UNSTORABLE.sub("", "".join(self._tokens)))

    @property
    def reasoning(self) -> str:
        """What the model has thought, up to MAX_REASONING."""
        return _UNSTORABLE.sub("", "".join(self._reasoning))


def unfenced(answer: str) -> str:
    """The answer without a code fence around all of it; where another line begins with that fence, it stays: who knows what ends there."""
    text = answer.strip()
    found = _FENCED.match(text)
    if found is None or any(line.startswith(found["fence"]) for line in found["inside"].splitlines()):
        return text
    return found["inside"].strip()
