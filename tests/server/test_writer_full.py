"""A database that takes connections and refuses every row: what was refused waits, and it shows for as long as it lasts."""

import asyncio

from tests.support.core import core, typed, until

FULL = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"
REFUSE = "CREATE TRIGGER full_disk BEFORE INSERT ON updates FOR EACH ROW EXECUTE FUNCTION full_disk()"


async def test_while_the_disk_is_full_it_shows_without_a_break_and_the_database_is_left_in_peace(database_dsn: str) -> None:
    async with core(database_dsn) as running:
        room, _ = await running.joined()
        other, _ = await running.joined()
        await running.push(room, typed("a", 1, 0))
        await running.execute(FULL)
        await running.execute(REFUSE)
        entry = running.submit(room, typed("b", 1, 1))
        lane, before = running.writer._small_lane, running.connects
        await until(lambda: lane.failing_since > 0, "a failure")
        since, seen, began = lane.failing_since, set[float](), asyncio.get_running_loop().time()
        another = running.submit(other, typed("a", 2, 0))
        while running.connects < before + 5:
            seen.add(lane.failing_since)
            await asyncio.sleep(0.001)
        assert seen == {since}
        assert asyncio.get_running_loop().time() - began >= 0.1
        await running.execute("DROP TRIGGER full_disk ON updates")
        assert await running.settled(entry, another) == [2, 1]
        await until(lambda: not running.writer.failing, "all to be well")
