"""The calls of models: a row for each, however it ended, and what they sum up to. Never what was said.

Numbers are added up where they lie: an answer has as many rows as there are days and models, not as there were calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from uuid import UUID

from storage.pool import Connection, Record

# One whose user has been removed meanwhile belongs nowhere any more, and costs the others nothing. A row may come twice: it is written
# again after a connection broke in its commit.
_ADD = """
    INSERT INTO model_calls (id, user_id, at, kind, config_id, shared, provider, model, outcome, milliseconds, first_milliseconds,
        input_tokens, output_tokens, estimated, cost, currency)
    SELECT made.* FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::text[],
        $9::text[], $10::integer[], $11::integer[], $12::bigint[], $13::bigint[], $14::boolean[], $15::numeric[], $16::text[])
        AS made (id, user_id, at, kind, config_id, shared, provider, model, outcome, milliseconds, first_milliseconds, input_tokens,
        output_tokens, estimated, cost, currency)
    WHERE EXISTS (SELECT 1 FROM users WHERE users.id = made.user_id)
    ON CONFLICT (id) DO NOTHING
"""
_SUMS = """
    SELECT day, is_shared, by_provider, by_model, currency, count(*) AS calls,
        count(*) FILTER (WHERE outcome NOT IN ('ok', 'cancelled')) AS failed,
        count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE estimated) AS estimated,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
        coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        sum(milliseconds)::bigint AS milliseconds,
        sum(cost) AS cost
    FROM (
        SELECT CASE WHEN $4 THEN (at AT TIME ZONE 'UTC')::date END AS day, CASE WHEN $5 THEN shared END AS is_shared,
            CASE WHEN $5 THEN provider END AS by_provider, CASE WHEN $5 THEN model END AS by_model,
            currency, outcome, estimated, input_tokens, output_tokens, milliseconds, cost
        FROM model_calls WHERE user_id = $1 AND at >= $2 AND at < $3
    ) AS calls
    GROUP BY day, is_shared, by_provider, by_model, currency
    ORDER BY day DESC, by_provider, by_model, is_shared, currency NULLS LAST LIMIT $6
"""
_SHARED_TOKENS = """
    SELECT coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)::bigint
    FROM model_calls WHERE user_id = $1 AND at >= $2 AND shared
"""
_PURGE = """
    DELETE FROM model_calls WHERE id = ANY(ARRAY(SELECT id FROM model_calls WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1
"""
_PURGE_USER = """
    DELETE FROM model_calls WHERE id = ANY(ARRAY(
        SELECT m.id FROM model_calls AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NOT NULL WHERE m.user_id = $1 LIMIT $2
    )) RETURNING 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One call, as it is kept. In the order of the columns."""

    id: UUID
    user_id: UUID
    at: datetime
    """When it began."""
    kind: str
    config_id: str
    shared: bool
    provider: str
    model: str
    outcome: str
    milliseconds: int
    first_milliseconds: int | None
    """Until the first token; None: there was none."""
    input_tokens: int | None
    """None: not known, nor worth a guess."""
    output_tokens: int | None
    estimated: bool
    """The provider did not say how many tokens: they are ours to guess."""
    cost: Decimal | None
    currency: str | None


_values = attrgetter(*(each.name for each in fields(ModelCall)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Calls added up. `day` is None over all days; `shared`, `provider` and `model` are None over all models."""

    day: date | None
    shared: bool | None
    provider: str | None
    model: str | None
    currency: str | None
    """What `cost` is in; None for calls without a price."""
    calls: int
    failed: int
    """Neither answered nor cancelled."""
    cancelled: int
    estimated: int
    input_tokens: int
    output_tokens: int
    milliseconds: int
    cost: Decimal | None


async def add(connection: Connection, calls: Sequence[ModelCall]) -> None:
    """Keep calls, all or none; those that are kept already, and those whose users are gone, are left out."""
    await connection.execute(_ADD, *(list(column) for column in zip(*map(_values, calls), strict=True)))


async def sums(
    connection: Connection, user_id: UUID, since: datetime, until: datetime, *, by_day: bool, by_model: bool, limit: int
) -> list[Sum]:
    """A user's calls from `since` up to but without `until`, by day (UTC), by model, or both; by currency in any case.

    The latest days come first, and at most `limit` rows.
    """
    return [_sum(row) for row in await connection.fetch(_SUMS, user_id, since, until, by_day, by_model, limit)]


async def shared_tokens(connection: Connection, user_id: UUID, since: datetime) -> int:
    """How many tokens of the operator's models a user has used since then."""
    return int(await connection.fetchval(_SHARED_TOKENS, user_id, since))


async def purge_step(connection: Connection, before: datetime, limit: int) -> bool:
    """Delete calls that began before then, at most `limit`; whether there may be more."""
    return len(await connection.fetch(_PURGE, before, limit)) == limit


async def purge_user_step(connection: Connection, user_id: UUID, limit: int) -> bool:
    """Delete calls of a deleted account, at most `limit`; whether there may be more. One that is not deleted keeps its own."""
    return len(await connection.fetch(_PURGE_USER, user_id, limit)) == limit


def _sum(row: Record) -> Sum:
    return Sum(
        day=row["day"],
        shared=row["is_shared"],
        provider=row["by_provider"],
        model=row["by_model"],
        currency=row["currency"],
        calls=row["calls"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        estimated=row["estimated"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        milliseconds=row["milliseconds"],
        cost=row["cost"],
    )
