"""`GET /api/usage`: what the asking user's calls of models have used, by day, by model, or both."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from storage import model_calls
from storage.model_calls import Sum

router = APIRouter(prefix="/api/usage", tags=["models"], route_class=StrictRoute)

MOST_DAYS = 400
"""Days that may be asked for at once: a year, and what one compares it with. Past it: 422."""
USUAL_DAYS = 30
"""Days that are meant where none are named."""
MOST_ROWS = 5_000
"""Rows of an answer, about 1 MB; past it the earliest days are left out, and `complete` says so. The totals have all of them."""


class By(StrEnum):
    """What calls are added up by."""

    DAY = "day"
    MODEL = "model"
    DAY_AND_MODEL = "day,model"


class Used(BaseModel):
    """Calls added up."""

    calls: int
    failed: int = Field(description="those that did not succeed, but for the cancelled ones")
    cancelled: int = Field(description="those whose asker has gone before the end")
    estimated: int = Field(description="those of whose tokens the provider said nothing: they are guessed by the length of the texts")
    input_tokens: int
    output_tokens: int
    milliseconds: int = Field(description="how long they took over all")
    cost: dict[str, Decimal] = Field(
        description="by currency, of the calls that have a price here: by what prices were when they were made",
        examples=[{"USD": "0.0123"}],
    )


class UsedBy(Used):
    """Calls of a day, or of a model, or of both."""

    day: dt.date | None = Field(None, description="UTC")
    provider: str | None = None
    model: str | None = None
    shared: bool | None = Field(None, description="whether it was one of the operator's models, called on the operator's account")


class Usage(BaseModel):
    """What was used."""

    since: dt.date = Field(alias="from")
    until: dt.date = Field(alias="to", description="this day is in it")
    by: By
    rows: list[UsedBy] = Field(description="the latest day first, then by provider and model; without those of which there is nothing")
    complete: bool = Field(description=f"false: there are more than {MOST_ROWS} rows, and the earliest are missing")
    total: Used


@router.get("", responses=fails(invalid_request=422, **SIGNED_IN))
async def usage(
    asking: Asking,
    services: Served,
    since: Annotated[dt.date | None, Query(alias="from", description=f"default: so that there are {USUAL_DAYS} days")] = None,
    until: Annotated[dt.date | None, Query(alias="to", description="the last day (UTC); default: today")] = None,
    by: By = By.DAY,
) -> Usage:
    """What your calls of models have used, added up by day (UTC), by model, or by both.

    It has your own calls alone, with keys of yours and of the operator's models alike, for as long as this server keeps them. A call
    is in it as soon as it has ended.
    """
    today = services.clock().date()
    since, until = _range(since, until, today)
    await services.models.ledger.settled()
    begin, end = _midnight(since), _midnight(until) + dt.timedelta(days=1)
    user_id, by_day, by_model = asking.user.id, by is not By.MODEL, by is not By.DAY
    async with services.database.acquire() as connection:
        found = await model_calls.sums(connection, user_id, begin, end, by_day=by_day, by_model=by_model, limit=MOST_ROWS + 1)
        total = await model_calls.sums(connection, user_id, begin, end, by_day=False, by_model=False, limit=MOST_ROWS)
    return Usage.model_validate(
        {
            "from": since,
            "to": until,
            "by": by,
            "rows": _rows(found[:MOST_ROWS]),
            "complete": len(found) <= MOST_ROWS,
            "total": _added(total),
        }
    )


def _range(since: dt.date | None, until: dt.date | None, today: dt.date) -> tuple[dt.date, dt.date]:
    """The days that are meant. Raises RequestValidationError where there are none, or too many."""
    until = until or max(today, since or today)
    try:
        since = since or until - dt.timedelta(days=USUAL_DAYS - 1)
        days = (until - since).days + 1
        _midnight(until) + dt.timedelta(days=1)
    except OverflowError:
        days = 0
    if not 1 <= days <= MOST_DAYS:
        raise RequestValidationError([{"type": "range", "loc": ("query", "from"), "msg": f"1 to {MOST_DAYS} days may be asked for"}])
    return since or until, until


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _rows(found: Iterable[Sum]) -> list[UsedBy]:
    """The sums with those that differ in their currency alone made one."""
    groups: dict[tuple[object, ...], list[Sum]] = {}
    for each in found:
        groups.setdefault((each.day, each.provider, each.model, each.shared), []).append(each)
    return [_used_by(group) for group in groups.values()]


def _used_by(group: list[Sum]) -> UsedBy:
    first = group[0]
    return UsedBy(day=first.day, provider=first.provider, model=first.model, shared=first.shared, **_added(group).model_dump())


def _added(group: Iterable[Sum]) -> Used:
    sums = list(group)
    return Used(
        calls=sum(each.calls for each in sums),
        failed=sum(each.failed for each in sums),
        cancelled=sum(each.cancelled for each in sums),
        estimated=sum(each.estimated for each in sums),
        input_tokens=sum(each.input_tokens for each in sums),
        output_tokens=sum(each.output_tokens for each in sums),
        milliseconds=sum(each.milliseconds for each in sums),
        cost={each.currency: each.cost for each in sums if each.currency is not None and each.cost is not None},
    )
