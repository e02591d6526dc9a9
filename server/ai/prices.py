"""What calls cost, where the operator has said what tokens do."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from server.ai.calls import Target, Usage

_MILLION = 1_000_000


class Price(NamedTuple):
    """What a million tokens cost, in a currency by its three letters (ISO 4217)."""

    input: Decimal
    output: Decimal
    currency: str

    def of(self, usage: Usage) -> Decimal | None:
        """What a call costs that has used so much; None where that is not known."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / _MILLION


class Prices:
    """The prices of one operator: of each shared model by its id, and of models that users call with keys of their own."""

    def __init__(self, shared: Mapping[str, Price], by_model: Mapping[tuple[str, str], Price]) -> None:
        """`by_model` has them by provider and model."""
        self._shared = shared
        self._by_model = by_model

    def of(self, target: Target) -> Price | None:
        """The price of a model; a shared one that has none of its own costs what others pay for the model."""
        own = self._shared.get(target.config_id) if target.is_shared else None
        return own or self._by_model.get((target.provider, target.model))
