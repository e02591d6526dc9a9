"""Reading and editing a library's document on the server: committed, then answered, and never two contents at one clock."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from auth.errors import Forbidden
from crdt.library import Library
from crdt.operations import Missing, purge_prompt
from crdt.updates import inspect
from crdt.view import View
from server.batch import Basis, Entry
from server.documents import INLINE_BYTES
from server.editor import BUILT_BEFORE_THE_LOCK
from server.errors import DocumentTooLarge, TryLater, WorkerDied
from tests.support.core import deleted, eventually, typed
from tests.support.editing import append, edit, log, make, process_id, read, retitle, stored, titles
from tests.support.library_replica import store
from tests.support.pair import Pair
from tests.support.poison import NO_PARENT, nested_types
from tests.support.running import Running, User
from tests.support.wire_client import WireClient

# What is asked and changed. Functions of the module: they may run in another process.


def spoil(view: View) -> str:
    make(view, "spoilt")
    raise Missing("changed something, and then raised")


def original(view: View, prompt_id: str) -> str:
    return view.original(prompt_id)


def pid_and_make(view: View) -> str:
    make(view, "away")
    return str(os.getpid())


def purge(view: View, prompt_id: str) -> str:
    purge_prompt(view.library, prompt_id)
    return prompt_id


def nothing(view: View) -> str:
    return "nothing"


async def test_an_edit_is_committed_and_seen_by_devices_and_by_the_next_question(server: Running, user: User) -> None:
    async with server.device(user) as device:
        before = (await stored(server, user)).head
        edited = await edit(server, user, partial(make, prompt_id="p"))
        assert edited == ("p", before + 1)
        await device.until(lambda: titles(View(Library.load(device.replica.dump()))) == {"p": "p"}, what="the prompt on the device")
    assert await read(server, user, titles) == {"p": "p"}
    assert len(await log(server, user.library_id)) == edited.seq


async def test_an_edit_that_changes_nothing_is_not_stored(server: Running, user: User) -> None:
    made = await edit(server, user, partial(make, prompt_id="p"))
    assert await edit(server, user, nothing) == ("nothing", made.seq)
    assert (await stored(server, user)).head == made.seq


async def test_what_raises_has_changed_nothing(server: Running, user: User) -> None:
    made = await edit(server, user, partial(make, prompt_id="p"))
    for change in (partial(retitle, prompt_id="absent", title="t"), spoil):
        with pytest.raises(Missing):
            await edit(server, user, change)
    assert await read(server, user, titles) == {"p": "p"}
    assert (await stored(server, user)).head == made.seq


async def test_a_viewer_reads_and_does_not_write(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    library = await stored(server, viewer, user.library_id)
    assert await server.app.editor.read(library, titles) == {"p": "p"}
    with pytest.raises(Forbidden):
        await server.app.editor.edit(library, partial(make, prompt_id="q"), session_id=viewer.session_id)


async def test_a_title_change_stores_little_in_a_library_where_much_was_deleted(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p", text="x"))
    async with server.device(user) as device:
        for count in range(300):
            await device.push(typed("ab", 7 + 2 * count, 0))
            await device.push(deleted(7 + 2 * count, 0, 1))
        await device.confirmed()
    await edit(server, user, partial(retitle, prompt_id="p", title="A new title"))
    assert len((await log(server, user.library_id))[-1]) < 100


async def test_two_servers_write_as_one_client_and_never_two_contents_at_one_clock(pair: Pair) -> None:
    user, count = pair.user, 30
    await edit(pair.one, user, partial(make, prompt_id="shared"))
    edits = [
        edit(server, user, change)
        for number in range(count)
        for server in (pair.one, pair.other)
        for change in (
            partial(make, prompt_id=f"{number}-{server.port}"),
            partial(append, prompt_id="shared", text=f"[{server.port}:{number}]"),
        )
    ]
    seqs = [edited.seq for edited in await asyncio.gather(*edits)]
    assert len(set(seqs)) == len(seqs) == 4 * count
    taken: Counter[tuple[int, int]] = Counter()
    for update in await log(pair.one, user.library_id):
        held = inspect(update).held
        for at in range(0, len(held), 3):
            taken.update((held[at], clock) for clock in range(held[at + 1], held[at + 2]))
    assert max(taken.values()) == 1
    assert len({client for client, _ in taken if client > 1}) == 1  # besides the seed's
    for server in (pair.one, pair.other):
        found = await read(server, user, titles)
        assert isinstance(found, dict)
        assert len(found) == 2 * count + 1
        text = await read(server, user, partial(original, prompt_id="shared"))
        assert isinstance(text, str)
        assert all(text.count(f"[{each.port}:{number}]") == 1 for number in range(count) for each in (pair.one, pair.other))


async def test_a_question_to_another_server_is_never_answered_from_before_the_last_answered_edit(pair: Pair) -> None:
    await edit(pair.one, pair.user, partial(make, prompt_id="p"))
    for number in range(40):
        writer, reader = (pair.one, pair.other) if number % 2 else (pair.other, pair.one)
        await edit(writer, pair.user, partial(retitle, prompt_id="p", title=str(number)))
        assert await read(reader, pair.user, titles) == {"p": str(number)}


async def test_who_types_does_not_keep_an_edit_from_being_stored(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    async with server.device(user) as device:
        typing = asyncio.create_task(_type(device, 2_000))
        for number in range(20):
            await edit(server, user, partial(retitle, prompt_id="p", title=str(number)))
            await edit(server, user, partial(append, prompt_id="p", text=f"[{number}]"), on_all=True)
        assert not typing.done(), "the typing ended too early to show anything"
        typing.cancel()
    assert await read(server, user, partial(original, prompt_id="p")) == "".join(f"[{number}]" for number in range(20))


async def _type(device: WireClient, count: int) -> None:
    for clock in range(count):
        await device.push(typed("x", 77, clock))
        await device.confirmed()


async def test_an_edit_that_is_refused_again_and_again_is_built_under_the_lock(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server is always faster: before each commit of this one it has written as the server's client."""
    await edit(server, user, partial(make, prompt_id="p"))
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    submit = server.app.writer.submit
    refused: list[Entry] = []

    def slower(entry: Entry) -> None:
        if entry.build is None:
            refused.append(entry)
            assert entry.basis is not None
            assert entry.basis.clock is not None
            entry.basis = Basis(entry.basis.client_id, entry.basis.clock - 1)
        submit(entry)

    monkeypatch.setattr(server.app.writer, "submit", slower)
    edited = await edit(server, user, partial(retitle, prompt_id="p", title="at last"))
    assert len(refused) == BUILT_BEFORE_THE_LOCK
    assert await read(server, user, titles) == {"p": "at last"}
    assert edited.seq == room.head
    monkeypatch.setattr("server.editor.BUILT_BEFORE_THE_LOCK", 0)
    with pytest.raises(Missing):
        await edit(server, user, partial(retitle, prompt_id="absent", title="t"))
    assert await edit(server, user, nothing) == ("nothing", room.head)


async def test_a_client_id_that_somebody_else_has_written_as_is_not_written_as_any_more(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    used_up = room.server_client_id
    async with server.device(user) as device:  # far above what the server has written: its own edits would run into it
        await device.push(typed("mine", used_up, 1_000))
        await device.confirmed()
    for number in range(3):
        await edit(server, user, partial(retitle, prompt_id="p", title=str(number)))
    assert room.server_client_id != used_up
    async with server.services.database.acquire() as connection:
        found = await connection.fetchval("SELECT server_client_id FROM libraries WHERE id = $1", user.library_id)
    assert found == room.server_client_id
    assert await read(server, user, titles) == {"p": "2"}


async def test_nothing_is_lost_behind_what_somebody_wrote_as_the_servers_client(pair: Pair) -> None:
    """Past a hole in its own client a document keeps what is written waiting, and says that nothing has changed."""
    await edit(pair.one, pair.user, partial(make, prompt_id="p"))
    room = pair.one.app.rooms.get(pair.user.library_id)
    assert room is not None
    spans = room.knowledge.held.spans_of(room.server_client_id)
    assert spans is not None
    async with pair.one.device(pair.user) as device:
        await device.push(typed("mine", room.server_client_id, spans[-1] + 1))
        await device.confirmed()
    await edit(pair.one, pair.user, partial(make, prompt_id="q"))
    await edit(pair.other, pair.user, partial(retitle, prompt_id="p", title="renamed"))
    library = Library()
    for update in await log(pair.one, pair.user.library_id):
        library.apply(update)
    for found in (titles(View(library)), await read(pair.one, pair.user, titles), await read(pair.other, pair.user, titles)):
        assert found == {"p": "renamed", "q": "q"}


async def test_a_small_library_of_many_types_does_not_lie_where_others_wait(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    async with server.http(user) as client:
        answer = await store(client, user.library_id, nested_types(3_000))
    assert answer.status_code == 200
    assert await read(server, user, process_id) != os.getpid()
    assert await read(server, user, titles) == {"p": "p"}


async def test_what_takes_long_is_done_in_a_document_process(server: Running, user: User) -> None:
    assert (await edit(server, user, pid_and_make, away=True)).answer != str(os.getpid())
    assert await read(server, user, titles) == {"away": "away"}


async def test_a_large_library_lies_in_a_process_of_its_own_and_comes_back_when_that_is_killed(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="small"))
    assert await read(server, user, process_id) == os.getpid()
    await edit(server, user, partial(make, prompt_id="large", text="x" * 3 * INLINE_BYTES))
    away = await read(server, user, process_id)
    assert away != os.getpid()
    assert await read(server, user, process_id) == away
    await edit(server, user, partial(retitle, prompt_id="small", title="from there"))
    assert isinstance(away, int)
    os.kill(away, signal.SIGKILL)
    with suppress(WorkerDied):  # the first question may be the one that finds it dead
        await read(server, user, titles)
    assert await read(server, user, titles) == {"small": "from there", "large": "large"}
    assert await read(server, user, process_id) not in (away, os.getpid())


async def test_an_edit_that_was_not_stored_is_not_in_the_document_either(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    monkeypatch.setattr(server.app.writer, "_stopping", True)
    with pytest.raises(TryLater):
        await edit(server, user, partial(retitle, prompt_id="p", title="lost"))
    assert await read(server, user, titles) == {"p": "p"}
    monkeypatch.setattr(server.app.writer, "_stopping", False)
    await edit(server, user, partial(make, prompt_id="q"))
    assert await read(server, user, titles) == {"p": "p", "q": "q"}


async def test_who_stops_waiting_for_an_edit_leaves_no_trace_in_the_document(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    for number in range(30):
        waiting = asyncio.create_task(edit(server, user, partial(retitle, prompt_id="p", title=str(number))))
        for _ in range(number):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    await edit(server, user, partial(make, prompt_id="q"))
    library = Library()
    for update in await log(server, user.library_id):
        library.apply(update)
    assert await read(server, user, titles) == titles(View(library))


async def test_a_library_with_an_update_that_yrs_breaks_on_is_read_again_once_that_is_set_apart(server: Running, user: User) -> None:
    await edit(server, user, partial(make, prompt_id="p"))
    async with server.http(user) as client:
        answer = await store(client, user.library_id, NO_PARENT)
    assert answer.status_code == 200

    async def is_read() -> bool:
        try:
            return await read(server, user, titles) == {"p": "p"}
        except TryLater:
            return False

    assert not await is_read()
    await eventually(is_read, "the library without that update", within=20)
    await edit(server, user, partial(make, prompt_id="q"))
    assert await read(server, user, titles) == {"p": "p", "q": "q"}


async def test_documents_are_bounded_in_bytes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = server.app.documents
    monkeypatch.setattr(documents, "_cache_bytes", 1 << 20)
    for _ in range(12):
        user = await server.user()
        await edit(server, user, partial(make, prompt_id="p", text="x" * 30_000))
        assert documents.nbytes <= (1 << 20) + 500_000
    assert 1 <= len(documents) < 12


async def test_a_library_that_has_grown_too_large_can_still_be_cleared(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edit(server, user, partial(make, prompt_id="p", text="x" * 3_000))
    monkeypatch.setattr("server.editor.GROWN_BYTES", 2_000)
    with pytest.raises(DocumentTooLarge):
        await edit(server, user, partial(make, prompt_id="q", text="x" * 100_000))
    await edit(server, user, partial(append, prompt_id="p", text=" and more"))
    await edit(server, user, partial(purge, prompt_id="p"))
    assert await read(server, user, titles) == {}
