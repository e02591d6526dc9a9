"""Calls of models for tests, as they are kept."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from storage.model_calls import ModelCall

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def kept_call(user_id: UUID, **fields: Any) -> ModelCall:
    """A call of 10 tokens and 20, that cost 0.5 USD."""
    call = ModelCall(
        id=uuid4(),
        user_id=user_id,
        at=AT,
        kind="optimize",
        config_id="mine",
        shared=False,
        provider="deepseek",
        model="deepseek-chat",
        outcome="ok",
        milliseconds=1500,
        first_milliseconds=300,
        input_tokens=10,
        output_tokens=20,
        estimated=False,
        cost=Decimal("0.5"),
        currency="USD",
    )
    return replace(call, **fields)
