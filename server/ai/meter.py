"""One call of a model while it runs: how long it takes, how many tokens it uses, and the row that it becomes."""

from collections.abc import Callable
from datetime import datetime
from math import ceil
from uuid import UUID

from server.ai.calls import Call, Finished, Piece, Usage
from server.ai.failures import Outcome
from server.ai.prices import Prices
from storage.model_calls import ModelCall

BYTES_A_TOKEN = 4
"""About what a token stands for, in bytes of UTF-8, where the provider did not say how many there were: of English and of Chinese alike."""
MOST_TEXT = 200
"""Characters of a model's or configuration's name that are kept: a device may have written any number."""
INTERNAL = "internal"
"""The outcome of a call that ended by a fault of ours."""
_WORKED = frozenset({Outcome.OK, Outcome.CANCELLED, Outcome.CUT_OFF, Outcome.TIMEOUT, Outcome.TOO_LARGE, Outcome.EMPTY, INTERNAL})
"""After these the provider may have worked, and counts that: where it did not say how much, it is guessed. After others it is nothing."""


class Meter:
    """Told of each piece as it comes."""

    def __init__(self, call: Call, *, at: datetime, ticks: Callable[[], float]) -> None:
        """`ticks` tells seconds, from anywhere, that never go back."""
        self._call = call
        self._at = at
        self._ticks = ticks
        self._began = ticks()
        self._first: float | None = None
        self._usage = Usage()
        self._nbytes = 0
        self._outcome: str | None = None

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return self._ticks() - self._began

    def add(self, piece: Piece) -> None:
        """Count a piece of the answer."""
        if isinstance(piece, Finished):
            self._usage = piece.usage
            self.end(Outcome.OK)
            return
        self._nbytes += len(piece.text.encode(errors="replace"))
        if self._first is None:
            self._first = self.seconds

    def end(self, outcome: Outcome) -> None:
        """Say how the call has ended. What comes after that changes nothing: an answer that is there stays there when its reader leaves."""
        self._outcome = self._outcome or outcome

    def row(self, call_id: UUID, user_id: UUID, prices: Prices) -> ModelCall:
        """What is kept of the call, which has ended now: by a fault of ours, if nobody said how."""
        target = self._call.target
        outcome = self._outcome or INTERNAL
        usage, is_estimated = self._usage_after(outcome)
        price = prices.of(target)
        cost = price.of(usage) if price is not None else None
        return ModelCall(
            id=call_id,
            user_id=user_id,
            at=self._at,
            kind=self._call.purpose.value,
            config_id=target.config_id[:MOST_TEXT],
            shared=target.is_shared,
            provider=target.provider,
            model=target.model[:MOST_TEXT],
            outcome=outcome,
            milliseconds=round(self.seconds * 1000),
            first_milliseconds=None if self._first is None else round(self._first * 1000),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            estimated=is_estimated,
            cost=cost,
            currency=price.currency if price is not None and cost is not None else None,
        )

    def _usage_after(self, outcome: str) -> tuple[Usage, bool]:
        """What was used, and whether some of it is a guess."""
        known = self._usage
        if outcome not in _WORKED or (known.input_tokens is not None and known.output_tokens is not None):
            return known, False
        asked = sum(len(message.content.encode(errors="replace")) for message in self._call.messages)
        guessed = Usage(
            ceil(asked / BYTES_A_TOKEN) if known.input_tokens is None else known.input_tokens,
            ceil(self._nbytes / BYTES_A_TOKEN) if known.output_tokens is None else known.output_tokens,
        )
        return guessed, True
