"""REST edits while something happens to the library or to who edits it: a raised epoch, deletion, a role, a session, poison."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest

from crdt.updates import inspect
from server.intents import prompts
from server.intents.prompt_json import Shown
from server.intents.prompts import Stamp
from storage.cluster import raise_epochs
from storage.libraries import draw_client_id
from tests.support.core import eventually, until
from tests.support.editing import edit as edit_library
from tests.support.editing import large_library, log, make, process_id, read, titles
from tests.support.library_replica import store
from tests.support.poison import NO_PARENT, OUTERMOST_DELETED, nested_types
from tests.support.rest import code_of
from tests.support.running import Running, User

EDITORS = 3


class Edits:
    """What REST clients were answered while they made one prompt after the other."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.refused: list[tuple[int, str]] = []

    async def more(self, count: int) -> None:
        """Wait until so many more were made."""
        wanted = len(self.made) + count
        await until(lambda: len(self.made) >= wanted, "more prompts")


@asynccontextmanager
async def edits(client: httpx2.AsyncClient, *, library: str | None = None) -> AsyncIterator[Edits]:
    """Several clients make prompts until the end of the block, or until they are refused for good."""
    done, stop = Edits(), asyncio.Event()

    async def work(name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            params = {} if library is None else {"library": library}
            answer = await client.post("/api/prompts", json={"title": f"{name}-{number}"}, params=params)
            if answer.status_code == 201:
                done.made.append(f"{name}-{number}")
                continue
            done.refused.append((answer.status_code, code_of(answer)))
            if answer.status_code < 500:
                return
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(work(name)) for name in range(EDITORS)]
    try:
        await done.more(5)
        yield done
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def clients_in(server: Running, user: User) -> list[int]:
    """Whom the server has written as, in the order of the log."""
    found: list[int] = []
    for update in await log(server, user.library_id):
        found += [client for client in inspect(update).held[0::3] if client > 1 and client not in found]
    return found


async def test_edits_go_on_as_a_new_client_when_the_epoch_is_raised(server: Running, user: User) -> None:
    async with server.http(user) as client, edits(client) as done:
        for _ in range(3):
            async with server.services.database.acquire() as connection:
                await raise_epochs(connection, new_client_id=lambda: draw_client_id(os.urandom))
            await done.more(5)
    assert not [status for status, _ in done.refused if status < 500]
    assert sorted((await titles_of(server, user)).values()) == sorted(done.made)
    written_as = await clients_in(server, user)
    assert len(written_as) == 4
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    assert room.server_client_id == written_as[-1]


async def titles_of(server: Running, user: User) -> dict[str, str]:
    found = await read(server, user, titles)
    assert isinstance(found, dict)
    return found


async def delete_library(server: Running, user: User, library: str) -> None:
    async with server.http(user) as client:
        assert (await client.delete(f"/api/libraries/{library}")).status_code == 204


async def make_viewer(server: Running, user: User, library: str) -> None:
    await server.execute("UPDATE members SET role = 'viewer' WHERE library_id = $1::uuid AND user_id = $2", library, user.id)


async def sign_out(server: Running, user: User, library: str) -> None:
    async with server.http(user) as client:
        assert (await client.post("/api/auth/logout")).status_code == 204


@pytest.mark.parametrize(
    ("happens", "answer"),
    [(delete_library, (404, "not_found")), (make_viewer, (403, "forbidden")), (sign_out, (401, "session_ended"))],
    ids=["the library is deleted", "the editor becomes a viewer", "the session ends"],
)
async def test_edits_are_refused_for_good_when(
    server: Running, user: User, happens: Callable[[Running, User, str], Awaitable[None]], answer: tuple[int, str]
) -> None:
    library = str(await server.library(user))
    async with server.http(user) as client, edits(client, library=library) as done:
        await happens(server, user, library)
        await until(lambda: len([each for each in done.refused if each[0] < 500]) == EDITORS, "the refusals")
    assert {each for each in done.refused if each[0] < 500} == {answer}
    assert server.app.documents._turns == {}


@pytest.mark.parametrize("poison", [[NO_PARENT], [nested_types(100_000), OUTERMOST_DELETED]], ids=["refused by Yrs", "ends the process"])
async def test_a_large_library_that_breaks_its_document_comes_back_once_that_is_set_apart(server: Running, poison: list[bytes]) -> None:
    user, neighbour = await large_library(server), await large_library(server)
    async with server.http(user) as client:
        async with edits(client) as done:
            for update in poison:
                assert (await store(client, user.library_id, update)).status_code == 200

            async def is_edited() -> bool:
                answer = await client.patch("/api/prompts/large", json={"title": "after all"})
                return answer.status_code == 200

            await eventually(is_edited, "an edit of the library", within=60)
            assert (await read(server, neighbour, titles)) == {"large": "large"}
        assert {status for status, _ in done.refused} <= {413, 503}
    # read on the server: a device made with Yrs would break on what is set apart, too
    assert set((await titles_of(server, user)).values()) >= {*done.made, "after all"}
    assert await read(server, neighbour, process_id) != os.getpid()


async def test_the_documents_of_many_libraries_stay_within_the_bound(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = server.app.documents
    monkeypatch.setattr(documents, "_cache_bytes", 300_000)
    for _ in range(20):
        user = await server.user()
        await edit_library(server, user, partial(make, prompt_id="p", text="x" * 2_000))
    assert documents.nbytes <= 300_000
    assert documents.nbytes == sum(lying.nbytes for lying in documents._lying.values())
    assert set(documents._here._own._views) >= set(documents._lying) - {user.library_id}
    assert documents._turns == {}


@pytest.mark.parametrize("is_conditional", [False, True])
async def test_a_version_whose_answer_was_lost_is_made_once(server: Running, user: User, is_conditional: bool) -> None:
    await edit_library(server, user, partial(make, prompt_id="p"))
    before = await read(server, user, partial(prompts.show, prompt_id="p", history=True))
    assert isinstance(before, Shown)
    stamp = Stamp(device="d", now=2, version_id="of the request")
    change = partial(
        prompts.change,
        prompt_id="p",
        fields={"optimized_text": "two", "new_version": True},
        stamp=stamp,
        if_match={before.state.etag} if is_conditional else None,
    )
    answers = [(await edit_library(server, user, change)).answer for _ in range(2)]  # type: ignore[arg-type]  # it answers a prompt
    assert answers[0] == answers[1]
    after = await read(server, user, partial(prompts.show, prompt_id="p", history=True))
    assert isinstance(after, Shown)
    assert [version.id for version in after.history] == [stamp.version_id]
