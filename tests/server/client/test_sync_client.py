"""The client on sockets: in step with a real server, through its restarts, and with a small one that misbehaves as told."""

import asyncio
import errno
import json
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from crdt.errors import InvalidUpdate
from crdt.replica import Replica
from crdt.updates import EMPTY_UPDATE
from protocol.client import Place
from protocol.client_events import Failed, LibraryEvent, Received
from server.client import ClientError, ClosedForGood, Connected, Disconnected, PushRefused, QueueBusy, QueueFull, SyncClient, connect
from server.client import backoff as backoffs
from server.client import library as libraries
from tests.support import small_server
from tests.support.born import BORN
from tests.support.core import new_keyring, until
from tests.support.running import Running, User, running_server
from tests.support.small_server import SmallServer
from tests.support.small_socket import small_socket

LIBRARY = UUID(int=1)
WAIT = 20


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoffs, "MOST_SECONDS", 0.2)


# --- with the real server


async def test_two_devices_hold_the_same_and_know_up_to_where(server: Running, user: User) -> None:
    async with connect(server.url, user.sync_token) as one, connect(server.url, user.sync_token) as two, asyncio.timeout(WAIT):
        desk, phone = Replica(), Replica()
        here, there = await one.open(user.library_id, desk), await two.open(user.library_id, phone)
        await here.push(desk.write_prompt("a", "hello"))
        await there.push(phone.write_prompt("b", "x" * (3 << 20)))
        await one.saved()
        await two.saved()
        await here.until(lambda: desk.prompts() == phone.prompts())
        await there.until(lambda: len(phone.prompts()) == 2)
        assert here.place == there.place == Place(1, BORN + 2)
        assert (here.role, one.unsaved, two.connections) == ("owner", 0, 1)


async def test_what_is_made_while_the_server_is_away_reaches_it_after_its_restart(database_dsn: str, tmp_path: Path) -> None:
    keyring, desk, fresh = new_keyring(), Replica(), Replica()
    seen: list[Connected | Disconnected] = []
    async with AsyncExitStack() as stack:
        async with running_server(database_dsn, keyring=keyring) as server:
            user = await server.user()
            client = await stack.enter_async_context(
                SyncClient(server.url, user.sync_token, queue=tmp_path / "queue", on_connection=seen.append)
            )
            library = await client.open(user.library_id, desk)
            await library.push(desk.write_prompt("before", "x"))
            await asyncio.wait_for(library.saved(), WAIT)
        await until(lambda: not client.connected, "the end of the connection")
        for number in range(5):
            await library.push(desk.write_prompt(f"away {number}", "x"))
        await library.push(desk.delete_prompt("before"))
        assert client.unsaved == 6
        async with running_server(database_dsn, keyring=keyring, port=server.port) as again:
            await asyncio.wait_for(library.saved(), WAIT)
            async with connect(again.url, user.sync_token) as other:
                opened = await other.open(user.library_id, fresh)
                await asyncio.wait_for(opened.synced(), WAIT)
            assert fresh.prompts() == desk.prompts()
            assert library.place == Place(1, BORN + 7)
            assert [type(event) for event in seen if isinstance(event, Connected)] == [Connected, Connected]


async def test_edits_that_never_were_in_the_queue_reach_the_server(server: Running, user: User) -> None:
    desk, fresh = Replica(), Replica()
    desk.write_prompt("kept in the document alone", "x")
    desk.write_prompt("gone", "x")
    async with connect(server.url, user.sync_token) as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, desk)
        await library.synced()
        await library.saved()
        await client.pause()
        desk.delete_prompt("gone")
        client.resume()
        await library.synced()
        await library.saved()
        async with connect(server.url, user.sync_token) as another:
            other = await another.open(user.library_id, fresh)
            await other.synced()
            assert fresh.prompts() == {"kept in the document alone": "x"}
            assert other.place == Place(1, BORN + 2)


async def test_coming_back_pushes_nothing_that_is_stored(server: Running, user: User) -> None:
    desk = Replica()
    async with connect(server.url, user.sync_token) as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, desk)
        await library.push(desk.write_prompt("a", "x"))
        await library.push(desk.delete_prompt("a"))
        await library.saved()
        events: list[LibraryEvent | Failed] = []
        library.listen(events.append)
        for _ in range(3):
            await client.pause()
            client.resume()
            await library.synced()
        assert library.unsaved == 0
        assert [type(event).__name__ for event in events] == ["LibraryOpened", "Received"] * 3
    async with connect(server.url, user.sync_token) as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, desk)
        await library.synced()
        assert library.unsaved == 0


async def test_several_libraries_share_a_socket(server: Running, user: User) -> None:
    second = await server.library(user)
    async with connect(server.url, user.sync_token) as client, asyncio.timeout(WAIT):
        one, two = Replica(), Replica()
        first, other = await client.open(user.library_id, one), await client.open(str(second), two)
        await asyncio.gather(*(first.push(one.write_prompt(f"{n}", "x")) for n in range(20)), other.push(two.write_prompt("b", "y")))
        await client.saved()
        assert client.connections == 1
        await client.close(first)
        await other.push(two.write_prompt("c", "y"))
        await client.saved()
        with pytest.raises(ClientError):
            await first.push(EMPTY_UPDATE)


async def test_a_bad_token_ends_it_with_a_code(server: Running, user: User) -> None:
    async with connect(server.url, "nonsense") as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, Replica())
        with pytest.raises(ClosedForGood) as ended:
            await library.synced()
        assert (ended.value.code, ended.value.library, client.failure) == (4401, None, ended.value)
        late = await client.open(uuid4(), Replica())
        with pytest.raises(ClosedForGood):
            await late.synced()


async def test_a_token_that_is_asked_for_may_be_renewed_once_refused(server: Running, user: User) -> None:
    given = ["expired", user.sync_token]

    async def token() -> str:
        return given.pop(0)

    async with connect(server.url, token) as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, Replica())
        await library.synced()
    async with connect(server.url, lambda: "expired") as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, Replica())
        with pytest.raises(ClosedForGood):
            await library.synced()


async def test_a_library_that_is_not_ours_ends_alone(server: Running, user: User) -> None:
    async with connect(server.url, user.sync_token) as client, asyncio.timeout(WAIT):
        desk = Replica()
        library = await client.open(user.library_id, desk)
        foreign = await client.open((await server.user()).library_id, Replica())
        with pytest.raises(ClosedForGood) as ended:
            await foreign.synced()
        assert (ended.value.code, ended.value.library) == (4404, foreign.id)
        await library.push(desk.write_prompt("a", "x"))
        await library.saved()


async def test_a_viewers_edits_are_refused_and_kept_until_dismissed(server: Running, user: User, tmp_path: Path) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    update = Replica().write_prompt("a", "not allowed")
    for attempt in range(2):
        replica = Replica()
        async with connect(server.url, viewer.sync_token, queue=tmp_path) as client, asyncio.timeout(WAIT):
            library = await client.open(user.library_id, replica)
            if attempt == 0:
                replica.apply(update)
                await library.push(update)
            with pytest.raises(PushRefused) as refused:
                await library.saved()
            assert [(entry.code, entry.update) for entry in refused.value.refused] == [("forbidden", update)]
            assert replica.prompts() == {"a": "not allowed"}
            if attempt == 1:
                library.dismiss(library.refused[0])
                await library.saved()
    async with connect(server.url, viewer.sync_token, queue=tmp_path) as client, asyncio.timeout(WAIT):
        library = await client.open(user.library_id, Replica())
        await library.synced()
        assert library.unsaved == 0


async def test_who_is_here_is_told_and_comes_back_with_the_connection(server: Running, user: User) -> None:
    async with connect(server.url, user.sync_token) as one, connect(server.url, user.sync_token) as two, asyncio.timeout(WAIT):
        here, there = await one.open(user.library_id, Replica()), await two.open(user.library_id, Replica())
        await here.synced()
        await there.synced()
        here.say({"name": "desk"})
        there.say({"name": "phone"})
        both = [{"name": "desk"}, {"name": "phone"}]
        await there.until(lambda: sorted(there.present.values(), key=str) == both)
        await one.pause()
        assert not here.present
        await there.until(lambda: len(there.present) == 1)
        one.resume()
        await here.until(lambda: sorted(here.present.values(), key=str) == both)
        await there.until(lambda: sorted(there.present.values(), key=str) == both)
        here.say(None)
        await there.until(lambda: list(there.present.values()) == [{"name": "phone"}])


# --- with the small one


async def test_a_kept_place_is_resumed_by_the_next_process(tmp_path: Path) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT):
        desk = Replica()
        async with connect(listening.url, "t", queue=tmp_path) as client:
            library = await client.open(LIBRARY, desk)
            await library.push(desk.write_prompt("a", "x"))
            await library.saved()
            await library.synced()
            assert library.place is not None
            place, vector, dump = library.place, desk.state_vector(), desk.dump()
            await library.keep(place, vector)
            await until(lambda: [status.cursor for status in listening.small.statuses] == [1])
        async with connect(listening.url, "t", queue=tmp_path) as client:
            await (await client.open(LIBRARY, Replica.load(dump))).synced()
        async with connect(listening.url, "t", queue=tmp_path) as client:
            empty = Replica()
            await (await client.open(LIBRARY, empty)).synced()
            assert empty.prompts() == {"a": "x"}
        assert [(asked.epoch, asked.cursor) for asked in listening.small.opened] == [(None, None), (1, 1), (None, None)]


async def test_without_a_kept_place_the_next_process_asks_by_its_vector(tmp_path: Path) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT):
        for _ in range(2):
            async with connect(listening.url, "t", queue=tmp_path) as client:
                await (await client.open(LIBRARY, Replica())).synced()
        assert [asked.cursor for asked in listening.small.opened] == [None, None]


async def test_what_the_queue_kept_is_in_the_document_before_anything_else(tmp_path: Path) -> None:
    desk, again = Replica(), Replica()
    async with connect("http://127.0.0.1:9", "t", queue=tmp_path) as client:
        library = await client.open(LIBRARY, desk)
        await library.push(desk.write_prompt("a", "x"))
    async with connect("http://127.0.0.1:9", "t", queue=tmp_path) as client:
        library = await client.open(LIBRARY, again)
        assert (again.prompts(), library.unsaved) == ({"a": "x"}, 1)


async def test_a_folder_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    async with connect("http://127.0.0.1:9", "t", queue=tmp_path):
        with pytest.raises(QueueBusy):
            await connect("http://127.0.0.1:9", "t", queue=tmp_path).__aenter__()
    async with connect("http://127.0.0.1:9", "t", queue=tmp_path):
        pass


async def test_after_a_restore_everything_the_device_holds_arrives_again() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        desk, stored = Replica(), listening.small.library(LIBRARY)
        library = await client.open(LIBRARY, desk)
        for number in range(4):
            await library.push(desk.write_prompt(f"{number}", "x"))
        await library.push(desk.delete_prompt("0"))
        await library.saved()
        await client.pause()
        stored.restore(2)
        client.resume()
        await library.synced()
        await library.saved()
        fresh = Replica()
        for update in stored.log:
            fresh.apply(update)
        assert fresh.prompts() == desk.prompts()
        assert library.place == Place(2, len(stored.log))


async def test_a_deletion_that_a_restore_has_lost_arrives_again() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        desk, stored = Replica(), listening.small.library(LIBRARY)
        library = await client.open(LIBRARY, desk)
        await library.push(desk.write_prompt("a", "x"))
        await library.push(desk.delete_prompt("a"))
        await library.saved()
        await client.pause()
        stored.restore(1)
        client.resume()
        await library.synced()
        await library.saved()
        assert len(stored.log) == 2


async def test_what_is_acknowledged_is_not_pushed_again_by_the_next_process(tmp_path: Path) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT):
        desk = Replica()
        async with connect(listening.url, "t", queue=tmp_path) as client:
            library = await client.open(LIBRARY, desk)
            await library.push(desk.write_prompt("a", "x"))
            await library.saved()
        async with connect(listening.url, "t", queue=tmp_path) as client:
            assert (await client.open(LIBRARY, Replica())).unsaved == 0


async def test_what_was_refused_is_not_pushed_again_as_a_part_of_something_else() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        listening.small.refusal = lambda update: "unstorable"
        desk = Replica()
        library = await client.open(LIBRARY, desk)
        await library.push(desk.write_prompt("a", "x"))
        with pytest.raises(PushRefused):
            await library.saved()
        await client.pause()
        client.resume()
        await library.synced()
        with pytest.raises(PushRefused) as refused:
            await library.saved()
        assert len(refused.value.refused) == 1


async def test_the_server_that_asks_is_answered_with_what_it_lacks_and_then_a_status() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        desk, stored = Replica(), listening.small.library(LIBRARY)
        library = await client.open(LIBRARY, desk)
        await library.synced()
        desk.write_prompt("never pushed", "x")
        (peer,) = listening.peers
        peer.say(peer.status(0, ask=True))
        await until(lambda: len(listening.small.statuses) == 1)
        assert len(stored.log) == 1
        await library.push(desk.delete_prompt("never pushed"))
        await library.saved()
        pushed: list[bytes] = []
        listening.small.refusal = pushed.append  # which returns None
        peer.say(peer.status(0, ask=True))
        await until(lambda: len(listening.small.statuses) == 2)
        assert pushed == [desk.missing(desk.state_vector())], "all deletions, though they were acknowledged"


async def test_what_is_too_large_for_a_socket_is_said_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_server, "LIMITS", replace(small_server.LIMITS, update=1000))
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        desk = Replica()
        desk.write_prompt("large", "x" * 2000)
        library = await client.open(LIBRARY, desk)
        heard: list[LibraryEvent | Failed] = []
        library.listen(heard.append)
        await library.synced()
        assert {event.code for event in heard if isinstance(event, Failed)} == {"too_large"}
        assert library.unsaved == 0


async def test_what_cannot_be_stored_now_is_pushed_again() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        refusals = ["try_later"] * 5
        listening.small.refusal = lambda update: refusals.pop() if refusals else None
        desk = Replica()
        library = await client.open(LIBRARY, desk)
        for number in range(8):
            await library.push(desk.write_prompt(f"{number}", "x"))
        await library.saved()
        assert client.connections == 1
        assert len(listening.small.library(LIBRARY).log) == 8


@pytest.mark.parametrize("code", [1012, 1013, 4503])
async def test_a_channel_that_is_closed_for_now_is_opened_again(code: int) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        library = await client.open(LIBRARY, Replica())
        await library.synced()
        listening.peers[0].shut(0, code)
        await library.until(lambda: not library.is_synced)
        await library.synced()
        assert client.connections == 1


@pytest.mark.parametrize("code", [1012, 1013, 1001, 4503])
async def test_a_socket_that_is_closed_for_now_is_opened_again(code: int) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        listening.close_with = code
        library = await client.open(LIBRARY, Replica())
        await until(lambda: len(listening.paths) >= 3)
        listening.close_with = None
        await library.synced()
        assert set(listening.paths) == {f"/sync/{LIBRARY}"}


@pytest.mark.parametrize("code", [4400, 4403, 4413])
async def test_a_socket_that_is_closed_for_good_is_not(code: int) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        listening.close_with = code
        library = await client.open(LIBRARY, Replica())
        with pytest.raises(ClosedForGood) as ended:
            await library.synced()
        assert ended.value.code == code
        assert len(listening.paths) == 1


async def test_a_server_that_breaks_the_protocol_is_left_and_tried_again() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        library = await client.open(LIBRARY, Replica())
        await library.synced()
        await listening.sockets[0].send(b"\xc1")
        await listening.sockets[0].wait_closed()
        assert listening.sockets[0].close_code == 4400
        await library.synced()
        await until(lambda: client.connections == 2)


async def test_a_document_that_fails_ends_the_client_with_its_error() -> None:
    class Failing(Replica):
        def apply(self, update: bytes) -> None:
            raise RuntimeError("broken document")

    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        library = await client.open(LIBRARY, Failing())
        with pytest.raises(RuntimeError, match="broken document"):
            await library.synced()


async def test_one_that_is_opened_to_be_read_sends_nothing() -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as client:
        replica = Replica()
        update = replica.write_prompt("a", "x")
        library = await client.open(LIBRARY, replica, read_only=True)
        with pytest.raises(ClientError):
            await library.push(update)
        await library.synced()
        assert library.unsaved == 0


async def test_a_push_that_is_no_update_or_too_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect("http://127.0.0.1:9", "t") as client:
        library = await client.open(LIBRARY, Replica())
        with pytest.raises(InvalidUpdate):
            await library.push(b"\xff")
        monkeypatch.setattr(libraries, "MAX_QUEUE_BYTES", 100)
        with pytest.raises(QueueFull):
            await library.push(Replica().write_prompt("a", "x" * 100))
        assert library.unsaved == 0


async def test_a_push_returns_only_once_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect("http://127.0.0.1:9", "t", queue=tmp_path) as client:
        desk = Replica()
        library = await client.open(LIBRARY, desk)

        def failing(file: int) -> None:
            raise OSError(errno.EIO, "broken disk")

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", failing)
            with pytest.raises(OSError, match="broken disk"):
                await library.push(desk.write_prompt("a", "x"))
        await library.push(desk.write_prompt("b", "x"))
        assert library.unsaved == 2


async def test_what_others_write_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with small_socket() as listening, asyncio.timeout(WAIT), connect(listening.url, "t") as one, connect(listening.url, "t") as two:
        desk, phone = Replica(), Replica()
        here, there = await one.open(LIBRARY, desk), await two.open(LIBRARY, phone)
        await there.synced()
        heard: list[LibraryEvent | Failed] = []
        there.listen(heard.append)
        update = desk.write_prompt("a", json.dumps("x"))
        await here.push(update)
        await there.until(lambda: "a" in phone.prompts())
        assert heard == [Received(LIBRARY, 1, update, catching_up=False)]


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="https://host"):
        SyncClient("localhost:8000", "t")


async def test_a_small_server_keeps_what_it_was_pushed_over_a_restart_of_its_socket() -> None:
    small = SmallServer()
    async with asyncio.timeout(WAIT), AsyncExitStack() as stack:
        async with small_socket(small) as listening:
            client = await stack.enter_async_context(connect(listening.url, "t"))
            desk = Replica()
            library = await client.open(LIBRARY, desk)
            await library.synced()
        await library.push(desk.write_prompt("a", "x"))
        async with small_socket(small, listening.port):
            await library.saved()
        assert len(small.library(LIBRARY).log) == 1
