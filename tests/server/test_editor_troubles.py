"""Documents on the server under trouble: changes out of order, processes that die, callers that go, and errors that cannot travel."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import httpx2
import pytest

from crdt.library import Library
from crdt.operations import NewPrompt, create_prompt, edit_original, set_fields
from crdt.updates import inspect, merge
from crdt.view import View
from server import desk
from tests.support.core import typed, until
from tests.support.editing import append, edit, large_library, log, make, process_id, read, retitle, titles
from tests.support.library_replica import LibraryReplica, pull, store
from tests.support.pair import Pair
from tests.support.running import Running, User

SLOW_SECONDS = 1.5


def shown(view: View) -> dict[str, str]:
    """A tag of everything that is in a prompt, for each."""
    states = {prompt_id: view.full(prompt_id) for prompt_id in view.prompt_ids()}
    return {prompt_id: state.etag for prompt_id, state in states.items() if state is not None}


def slow(view: View) -> int:
    time.sleep(SLOW_SECONDS)
    return os.getpid()


def lying(view: View) -> list[UUID]:
    """What lies on the desk of this process."""
    return list(desk.DESK._views)


class Odd(Exception):
    """Cannot be read in another process: it is made of two things and remembers one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def oddly(view: View) -> str:
    raise Odd("a", "b")


# --- what comes in another order than it was made


async def as_stored(server: Running, user: User) -> dict[str, str]:
    return shown(View(Library.load(merge(await log(server, user.library_id)))))


async def test_what_lies_beyond_a_gap_is_shown_as_it_is(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    device = Library(client_id=50)
    made = [
        create_prompt(device, NewPrompt(id="a", title="a", created_at=1, device="d", order="a0")),
        set_fields(device, "a", {"title": "after the gap"}),
        create_prompt(device, NewPrompt(id="b", title="b", created_at=1, device="d", order="a1")),
        set_fields(device, "b", {"title": "B"}),
        edit_original(device, "b", "text"),
    ]
    for number in (0, 2, 3, 4, 1):
        assert (await store(client, user.library_id, made[number])).status_code == 200
        assert await read(server, user, shown) == await as_stored(server, user)
    assert await read(server, user, shown) == shown(View(device))


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_sight_of_whatever_the_order(server: Running, user: User, client: httpx2.AsyncClient, seed: int) -> None:
    source = random.Random(seed)
    await edit(server, user, partial(make, prompt_id="p", text="x"))
    devices = [(LibraryReplica(client_id=50 + number), list[bytes]()) for number in range(3)]
    for replica, _ in devices:
        await pull(client, user.library_id, replica)
    for _ in range(60):
        replica, waiting = source.choice(devices)
        text, chance = replica.view.original("p"), source.random()
        place = source.randrange(len(text) + 1)
        if chance < 0.5:
            waiting.append(edit_original(replica.library, "p", f"{text[:place]} {place} {text[place:]}"))
        elif chance < 0.85 and waiting:
            await store(client, user.library_id, waiting.pop(source.randrange(len(waiting))))
            await read(server, user, shown)
        else:
            await pull(client, user.library_id, replica)
    rest = [update for _, waiting in devices for update in waiting]
    for update in source.sample(rest, len(rest)):
        await store(client, user.library_id, update)
        await read(server, user, shown)
    assert await read(server, user, shown) == await as_stored(server, user)


async def test_several_changes_that_come_at_once_in_another_order_are_all_shown(
    server: Running, user: User, client: httpx2.AsyncClient
) -> None:
    device = LibraryReplica(client_id=60)
    await edit(server, user, partial(make, prompt_id="p"))
    await pull(client, user.library_id, device)
    await read(server, user, shown)
    made = [
        set_fields(device.library, "p", {"description": "first"}),
        create_prompt(device.library, NewPrompt(id="q", title="q", created_at=1, device="d", order="a1")),
        set_fields(device.library, "q", {"title": "Q"}),
    ]
    for update in (made[1], made[2], made[0]):
        assert (await store(client, user.library_id, update)).status_code == 200
    assert await read(server, user, shown) == shown(device.view)


# --- what it writes as


async def test_two_servers_with_large_edits_do_not_take_their_client_for_used_up(pair: Pair) -> None:
    """What is no longer in a room's memory is read from the log, which may tell of more than the room knows."""
    await edit(pair.one, pair.user, partial(make, prompt_id="p", text="x"))
    edits = [
        edit(server, pair.user, partial(append, prompt_id="p", text=f"[{server.port}:{number}]" + "长" * 30_000))
        for number in range(2)
        for server in (pair.one, pair.other)
    ]
    await asyncio.gather(*edits)
    held = [inspect(update).held[0::3] for update in await log(pair.one, pair.user.library_id)]
    assert len({client for clients in held for client in clients if client > 1}) == 1  # besides the seed's


async def test_a_used_up_client_is_renewed_also_by_an_edit_that_is_built_under_the_lock(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    used_up = room.server_client_id
    async with server.device(user) as device:
        await device.push(typed("mine", used_up, 1_000))
        await device.confirmed()
    monkeypatch.setattr("server.editor.BUILT_BEFORE_THE_LOCK", 0)
    await edit(server, user, partial(retitle, prompt_id="p", title="mine too"))
    assert room.server_client_id != used_up
    assert await read(server, user, titles) == {"p": "mine too"}


# --- processes that die, and callers that go


async def test_who_asks_after_a_document_process_was_killed_is_answered(server: Running) -> None:
    user, neighbour = await large_library(server), await large_library(server)
    for _ in range(2):
        away = await read(server, user, process_id)
        assert isinstance(away, int)
        os.kill(away, signal.SIGKILL)
        assert await read(server, user, titles) == await read(server, neighbour, titles) == {"large": "large"}


async def test_an_order_that_nobody_waits_for_any_more_is_not_begun(server: Running) -> None:
    one, other = await large_library(server), await large_library(server)
    server.app.documents.forget(other.library_id)  # so that it would be opened there
    busy = asyncio.create_task(read(server, one, slow))
    await until(lambda: server.app.documents._away[0]._turn.locked(), "the process to be busy")
    waiting = asyncio.create_task(edit(server, other, partial(make, prompt_id="unwanted")))
    await until(lambda: other.library_id in server.app.documents._turns, "the edit to wait")
    await until(lambda: bool(server.app.documents._away[0]._turn._waiters), "the edit to wait for the process")
    waiting.cancel()
    await asyncio.wait({waiting})
    await busy
    found = await read(server, one, lying)
    assert isinstance(found, list)
    assert one.library_id in found
    assert other.library_id not in found
    assert server.app.documents._turns == {}
    assert await read(server, other, titles) == {"large": "large"}


async def test_nobody_waits_for_what_others_ask_of_the_document_process(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = await large_library(server), await large_library(server)
    busy = asyncio.create_task(read(server, one, slow))
    await until(lambda: server.app.documents._away[0]._turn.locked(), "the process to be busy")
    monkeypatch.setattr(server.app.documents, "_cache_bytes", 1)  # the second one is to be put away
    await edit(server, user, partial(make, prompt_id="p"))
    assert not busy.done()
    await busy
    await until(lambda: not server.app.documents._clearing, "it to be put away")


# --- errors


@pytest.mark.parametrize("size", ["small", "large"])
async def test_an_error_that_cannot_travel_ends_no_process(server: Running, size: str) -> None:
    user = await large_library(server) if size == "large" else await server.user()
    before = await read(server, user, process_id)
    with pytest.raises((Odd, RuntimeError), match=r"ab|Odd"):
        await edit(server, user, oddly)
    assert await read(server, user, process_id) == before


def test_an_error_that_can_travel_is_left_alone() -> None:
    error: Callable[[], Exception] = partial(ValueError, "all well")
    assert str(desk.portable(error())) == "all well"
