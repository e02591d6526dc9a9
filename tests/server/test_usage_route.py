"""`GET /api/usage`: one's own calls, added up by day and model."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.support.model_calls import AT, kept_call
from tests.support.rest import Rest, code_of, rest_api

DAY = timedelta(days=1)


@pytest.fixture
async def rest(database_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(database_dsn) as rest:
        yield rest


async def used(rest: Rest, tokens: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = await rest.get(f"/api/usage{query}", tokens["access_token"])
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def note(rest: Rest, tokens: dict[str, Any], **fields: Any) -> None:
    rest.services.models.ledger.note(kept_call(UUID(tokens["user"]["id"]), **fields))


async def test_a_call_that_has_just_ended_is_in_it(rest: Rest) -> None:
    tokens = await rest.register()
    note(rest, tokens)

    answer = await used(rest, tokens)

    sums = {"calls": 1, "failed": 0, "cancelled": 0, "estimated": 0, "input_tokens": 10, "output_tokens": 20, "milliseconds": 1500}
    assert answer["total"] == {**sums, "cost": {"USD": "0.500000000"}}
    assert answer["rows"] == [{**answer["total"], "day": "2026-11-22", "provider": None, "model": None, "shared": None}]
    assert (answer["from"], answer["to"], answer["by"], answer["complete"]) == ("2026-10-24", "2026-11-22", "day", True)


async def test_it_is_added_up_by_day_and_model_with_each_currency_by_itself(rest: Rest) -> None:
    tokens = await rest.register()
    note(rest, tokens)
    note(rest, tokens, currency="CNY", cost=Decimal(7))
    note(rest, tokens, model="deepseek-reasoner", outcome="timeout", cost=None, currency=None)
    note(rest, tokens, at=AT - DAY, shared=True)

    answer = await used(rest, tokens, "?by=day,model")

    assert [(row["day"], row["model"], row["shared"], row["calls"], row["failed"], row["cost"]) for row in answer["rows"]] == [
        ("2026-11-22", "deepseek-chat", False, 2, 0, {"CNY": "7.000000000", "USD": "0.500000000"}),
        ("2026-11-22", "deepseek-reasoner", False, 1, 1, {}),
        ("2026-11-21", "deepseek-chat", True, 1, 0, {"USD": "0.500000000"}),
    ]
    assert [(row["day"], row["model"], row["shared"], row["calls"]) for row in (await used(rest, tokens, "?by=model"))["rows"]] == [
        (None, "deepseek-chat", False, 2),
        (None, "deepseek-chat", True, 1),
        (None, "deepseek-reasoner", False, 1),
    ]


async def test_both_ends_of_the_range_are_in_it(rest: Rest) -> None:
    tokens = await rest.register()
    for days in range(4):
        note(rest, tokens, at=AT - days * DAY)

    answer = await used(rest, tokens, "?from=2026-11-20&to=2026-11-21")

    assert [row["day"] for row in answer["rows"]] == ["2026-11-21", "2026-11-20"]
    assert answer["total"]["calls"] == 2


async def test_nobody_sees_anothers(rest: Rest) -> None:
    mine, others = await rest.register(), await rest.register()
    note(rest, others)

    answer = await used(rest, mine)

    assert (answer["rows"], answer["total"]["calls"], answer["total"]["cost"]) == ([], 0, {})


@pytest.mark.parametrize(
    "query",
    (
        *("from=2026-11-23&to=2026-11-22", "from=2025-10-18&to=2026-11-22", "from=yesterday", "to=0001-01-01", "to=9999-12-31"),
        *("by=hour", "by=model,day", "by=", "user=1", "from=2026-11-01&from=2026-11-02"),
    ),
)
async def test_a_query_that_is_none_is_refused(rest: Rest, query: str) -> None:
    tokens = await rest.register()

    answer = await rest.get(f"/api/usage?{query}", tokens["access_token"])

    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")


async def test_four_hundred_days_may_be_asked_for(rest: Rest) -> None:
    assert (await used(rest, await rest.register(), "?from=2025-10-19&to=2026-11-22"))["complete"]


async def test_it_takes_an_access_token(rest: Rest) -> None:
    assert code_of(await rest.get("/api/usage")) == "not_authenticated"
