"""What time ends goes in chunks, and nothing that anybody still needs: purges, trimmed logs, thinned snapshots, old sessions."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import retention, snapshots
from storage.errors import Unavailable
from storage.pool import Connection, Database
from tests.support.core import eventually, store_user

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def library(database: Database, *, updates: int = 0, deleted: bool = False) -> UUID:
    library_id = uuid4()
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id, head, deleted_at)"
            " VALUES ($1, $2, '', 1, 'x', 'k1', $3, $4)",
            library_id,
            await store_user(connection),
            updates,
            NOW if deleted else None,
        )
        await connection.execute(
            "INSERT INTO updates (library_id, seq, epoch, sealed) SELECT $1, n, 1, 'x' FROM generate_series(1, $2::int) n",
            library_id,
            updates,
        )
    return library_id


async def snapshot(database: Database, library_id: UUID, seq: int, *, age: timedelta, verified: bool = True, pinned: bool = False) -> None:
    async with database.acquire() as connection:
        await connection.execute(
            "INSERT INTO snapshots (library_id, seq, epoch, created_at, verified_at, pinned, sealed_knowledge, sealed)"
            " VALUES ($1, $2, 1, $3, $4, $5, 'x', 'x')",
            library_id,
            seq,
            NOW - age,
            NOW - age if verified else None,
            pinned,
        )


async def seqs(database: Database, table: str, library_id: UUID) -> list[int]:
    async with database.acquire() as connection:
        rows = await connection.fetch(f"SELECT seq FROM {table} WHERE library_id = $1 ORDER BY seq", library_id)  # noqa: S608
    return [row["seq"] for row in rows]


async def trim(database: Database, library_id: UUID, *, after: timedelta = HOUR, limit: int = 3) -> int:
    """Trim to the end; in how many steps."""
    steps, more = 0, True
    while more:
        async with database.transaction() as connection:
            more = await retention.trim_step(connection, library_id, NOW - after, limit)
        steps += 1
    return steps


async def thinned(database: Database, library_id: UUID) -> list[int]:
    more = True
    while more:
        async with database.transaction() as connection:
            more = await retention.thin_step(connection, library_id, NOW, NOW - HOUR, 2)
    return await seqs(database, "snapshots", library_id)


async def purge(database: Database, library_id: UUID, limit: int) -> int:
    steps, more = 0, True
    while more:
        async with database.transaction() as connection:
            more = await retention.purge_step(connection, library_id, limit)
        steps += 1
    return steps


# --- purge


async def test_a_purge_destroys_the_key_first_and_then_everything_in_chunks(database: Database) -> None:
    doomed, kept = await library(database, updates=25, deleted=True), await library(database, updates=5)
    for library_id in (doomed, kept):
        await snapshot(database, library_id, 3, age=DAY)
        async with database.acquire() as connection:
            await connection.execute(
                "INSERT INTO quarantined (library_id, seq, epoch, reason, sealed) VALUES ($1, 2, 1, 'x', 'x')", library_id
            )
    async with database.transaction() as connection:
        assert await retention.purge_step(connection, doomed, 10)
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT wrapped_key IS NULL AND key_id IS NULL FROM libraries WHERE id = $1", doomed)
    assert len(await seqs(database, "updates", doomed)) == 25
    assert await purge(database, doomed, 10) == 6  # 10, 10, 5, the snapshot, the quarantined one, the row; the key was gone
    for table in ("updates", "snapshots", "quarantined"):
        assert not await seqs(database, table, doomed)
        assert await seqs(database, table, kept)
    assert await purge(database, doomed, 10) == 1


async def test_a_library_that_is_not_marked_is_not_purged(database: Database) -> None:
    library_id = await library(database, updates=3)
    assert await purge(database, library_id, 10) == 1
    assert await purge(database, uuid4(), 10) == 1
    assert await seqs(database, "updates", library_id) == [1, 2, 3]


async def test_two_processes_may_purge_one_library_at_once(database: Database) -> None:
    library_id = await library(database, updates=200, deleted=True)
    await asyncio.gather(*(purge(database, library_id, 7) for _ in range(3)))
    assert not await seqs(database, "updates", library_id)


async def test_who_pauses_inside_a_chunk_keeps_nobody_else_from_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BE_BRIEF", retention._BE_BRIEF.replace("'5s'", "'200ms'", 1))
    library_id = await library(database, updates=20, deleted=True)

    async def paused() -> None:
        async with database.transaction() as connection:
            await retention.purge_step(connection, library_id, 7)
            await asyncio.wait_for(purge(database, library_id, 7), 10)
            await retention.purge_step(connection, library_id, 7)

    with pytest.raises(Unavailable):
        await paused()
    assert not await seqs(database, "updates", library_id)


# --- trimming


async def test_only_what_an_old_enough_verified_snapshot_holds_is_trimmed(database: Database) -> None:
    library_id, other = await library(database, updates=20), await library(database, updates=5)
    await snapshot(database, library_id, 4, age=3 * HOUR)
    await snapshot(database, library_id, 8, age=2 * HOUR)
    await snapshot(database, library_id, 12, age=2 * HOUR, verified=False)
    await snapshot(database, library_id, 16, age=timedelta(minutes=59))
    assert await trim(database, library_id) == 3  # 3, 3 and 2
    assert await seqs(database, "updates", library_id) == list(range(9, 21))
    assert len(await seqs(database, "updates", other)) == 5
    assert await trim(database, library_id) == 1


@pytest.mark.parametrize("deleted", [False, True], ids=["no snapshot", "deleted"])
async def test_a_library_without_a_snapshot_or_that_is_deleted_is_not_trimmed(database: Database, deleted: bool) -> None:
    library_id = await library(database, updates=5, deleted=deleted)
    if deleted:
        await snapshot(database, library_id, 4, age=DAY)
    assert await trim(database, library_id) == 1
    assert len(await seqs(database, "updates", library_id)) == 5


async def test_a_writer_does_not_wait_for_trimming_nor_trimming_for_it(database: Database) -> None:
    library_id = await library(database, updates=5)
    await snapshot(database, library_id, 4, age=DAY)
    lock = "SELECT 1 FROM libraries WHERE id = $1 FOR NO KEY UPDATE NOWAIT"
    async with database.transaction() as writer, database.transaction() as trimmer:
        await writer.execute(lock, library_id)
        await retention.trim_step(trimmer, library_id, NOW - HOUR, 10)
        await retention.thin_step(trimmer, library_id, NOW, NOW - HOUR, 10)
    async with database.transaction() as trimmer, database.transaction() as writer:
        await retention.trim_step(trimmer, library_id, NOW - HOUR, 10)
        await writer.execute(lock, library_id)


# --- thinning


async def test_snapshots_are_kept_by_the_hour_for_a_day_and_by_the_day_for_a_month(database: Database) -> None:
    library_id = await library(database, updates=1)
    ages = [
        40 * DAY,  # 1: too old
        31 * DAY,  # 2: too old
        29 * DAY,  # 3
        3 * DAY + 2 * HOUR,  # 4: the same day as 5
        3 * DAY,  # 5
        2 * DAY,  # 6
        5 * HOUR + timedelta(minutes=20),  # 7: the same hour as 8
        5 * HOUR + timedelta(minutes=10),  # 8
        4 * HOUR,  # 9
        timedelta(minutes=25),  # 10: the same hour as 11
        timedelta(minutes=20),  # 11: the newest
    ]
    for seq, age in enumerate(ages, 1):
        await snapshot(database, library_id, seq, age=age)
    assert await thinned(database, library_id) == [3, 5, 6, 8, 9, 11]


async def test_the_newest_and_the_one_that_trimming_relied_on_stay_however_old(database: Database) -> None:
    old, busy = await library(database), await library(database)
    for seq in (1, 2, 3):
        await snapshot(database, old, seq, age=400 * DAY)
    await snapshot(database, busy, 1, age=timedelta(minutes=89))
    await snapshot(database, busy, 2, age=timedelta(minutes=61))  # the log is trimmed up to here
    await snapshot(database, busy, 3, age=timedelta(minutes=59))
    await snapshot(database, busy, 4, age=timedelta(minutes=50))
    async with database.acquire() as connection:
        await connection.execute("UPDATE snapshots SET created_at = $2 WHERE library_id = $1", busy, NOW)  # all in one hour
    assert await thinned(database, old) == [3]
    assert await thinned(database, busy) == [2, 4]


async def test_pinned_snapshots_stay_and_those_that_were_never_verified_go_after_a_day(database: Database) -> None:
    library_id = await library(database)
    await snapshot(database, library_id, 1, age=400 * DAY, pinned=True)
    await snapshot(database, library_id, 2, age=2 * DAY, verified=False)
    await snapshot(database, library_id, 3, age=5 * HOUR)
    await snapshot(database, library_id, 4, age=5 * HOUR, verified=False)
    await snapshot(database, library_id, 5, age=2 * DAY, verified=False)
    assert await thinned(database, library_id) == [1, 3, 4]


async def test_the_libraries_in_which_there_is_something_to_do_are_found(database: Database) -> None:
    async def found(ids: Iterable[UUID]) -> list[UUID]:
        async with database.acquire() as connection:
            return await retention.retainable(connection, list(ids), NOW, NOW - HOUR)

    nothing, trimmable, thinnable = [await library(database, updates=9) for _ in range(3)]
    deleted = await library(database, updates=9, deleted=True)
    for library_id, age in ((nothing, timedelta(minutes=5)), (trimmable, DAY), (thinnable, timedelta(minutes=5)), (deleted, DAY)):
        await snapshot(database, library_id, 4, age=age)
    await snapshot(database, thinnable, 3, age=timedelta(minutes=6))
    everything = [nothing, trimmable, thinnable, deleted]
    assert await found(everything) == sorted([trimmable, thinnable])
    await trim(database, trimmable)
    await thinned(database, thinnable)
    assert await found(everything) == []


# --- sessions


async def test_sessions_that_ended_before_then_go_and_living_ones_stay(database: Database) -> None:
    async with database.transaction() as connection:
        user_id = await store_user(connection)
        kept = {
            "living": await session(connection, user_id),
            "revoked lately": await session(connection, user_id, revoked_at=NOW - DAY),
            "ran out lately": await session(connection, user_id, expires_at=NOW - DAY),
        }
        for ended in ("revoked_at", "expires_at", "idle_expires_at"):
            for _ in range(3):
                await session(connection, user_id, **{ended: NOW - 31 * DAY})
    more = []
    for _ in range(4):
        async with database.transaction() as connection:
            more.append(await retention.purge_sessions_step(connection, NOW - 30 * DAY, 4))
    assert more == [True, True, False, False]
    async with database.acquire() as connection:
        assert {row["id"] for row in await connection.fetch("SELECT id FROM sessions")} == set(kept.values())


async def session(connection: Connection, user_id: UUID, **given: datetime) -> UUID:
    session_id = uuid4()
    times = {"revoked_at": None, "expires_at": NOW + DAY, "idle_expires_at": NOW + DAY} | given
    await connection.execute(
        "INSERT INTO sessions (id, user_id, device_id, device_name, platform, refresh_key, revoked_at, expires_at, idle_expires_at,"
        " authenticated_at) VALUES ($1, $2, $3, '', '', '', $4, $5, $6, now())",
        session_id,
        user_id,
        uuid4(),
        *times.values(),
    )
    return session_id


async def test_a_snapshot_that_is_verified_at_last_while_it_is_given_up_stays(database: Database) -> None:
    library_id = await library(database)
    await snapshot(database, library_id, 5, age=2 * DAY, verified=False)
    async with database.acquire() as verifier:
        verifying = verifier.transaction()
        await verifying.start()
        assert await snapshots.verify(verifier, library_id, 5, 1)
        thinning = asyncio.create_task(thinned(database, library_id))

        async def waits() -> bool:
            return bool(await verifier.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits, "the thinning to wait for the row")
        await verifying.commit()
    assert await thinning == [5]
