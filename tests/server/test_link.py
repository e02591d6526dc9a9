"""`promptsync.v1` on real sockets: what is acknowledged, what is relayed, and what is refused without ending anything else."""

import asyncio
from uuid import uuid4

import pytest

from crdt.presence import Entry
from crdt.presence import decode as decode_presence
from crdt.presence import encode as encode_presence
from crdt.replica import Replica
from crdt.seed import SEED
from crdt.updates import decode_state_vector
from protocol.closes import Close
from protocol.codec import PART_BYTES
from protocol.messages import (
    Ack,
    CloseChannel,
    Closed,
    Error,
    Hello,
    Open,
    Opened,
    Ping,
    Pong,
    Presence,
    Push,
    Status,
    StatusAsked,
    Synced,
    Update,
)
from server import link as links
from tests.support.born import BORN, SEEDED
from tests.support.core import typed, until
from tests.support.link_client import LinkClient, bare_link, link
from tests.support.running import Running, User, running_server

# --- coming in


async def test_hello_brings_the_token_and_a_library_is_opened_in_one_go(server: Running, user: User) -> None:
    async with bare_link(server) as client:
        await client.send(
            Hello(token=user.sync_token, client_name="app", client_version="2"),
            Open(channel=7, library=user.library_id, vector=b"\x00"),
            Push(7, 1, typed("a", 11, 0)),
        )
        kinds = [type(await client.next()).__name__ for _ in range(4)]
        assert kinds[:2] == ["Welcome", "Opened"]
        assert sorted(kinds[2:]) == ["Ack", "Synced"]
        (device,) = server.app.hall.devices
        assert (device.dialect, device.client) == ("promptsync.v1", "app 2")


async def test_welcome_tells_session_user_and_limits(server: Running, user: User) -> None:
    async with bare_link(server, f"bearer.{user.sync_token}", path=f"/sync/{user.library_id}") as client:
        welcome = await client.hello()
        assert (welcome.session, welcome.user) == (user.session_id, user.id)
        assert (welcome.limits.part, welcome.limits.channels, welcome.limits.update) == (PART_BYTES, 64, 32 << 20)


@pytest.mark.parametrize("token", [None, "", "nonsense"])
async def test_who_is_not_known_is_closed_with_4401(server: Running, token: str | None) -> None:
    async with bare_link(server) as client:
        await client.send(Hello(token=token))
        assert await client.close_code() == Close.UNAUTHENTICATED


async def test_two_tokens_and_the_token_of_another_device_are_refused(server: Running, user: User) -> None:
    async with bare_link(server, f"bearer.{user.sync_token}") as client:
        await client.send(Hello(token=user.sync_token))
        assert await client.close_code() == Close.UNAUTHENTICATED
    async with bare_link(server, f"bearer.{user.sync_token}") as client:
        await client.send(Hello(device=uuid4()))
        assert await client.close_code() == Close.UNAUTHENTICATED


async def test_a_socket_that_does_not_say_hello_is_closed_retryably(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HELLO_SECONDS", 0.1)
    async with bare_link(server) as client:
        assert await client.close_code() == Close.TRY_LATER


async def test_anything_but_hello_first_closes(server: Running, user: User) -> None:
    async with bare_link(server, f"bearer.{user.sync_token}") as client:
        await client.send(Ping(1))
        assert await client.close_code() == Close.MALFORMED


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x91\xa4ping", "text", b"\x93\xa4push\x00\x01"], ids=str)
async def test_frames_that_are_no_messages_close_their_socket_alone(server: Running, user: User, frame: bytes | str) -> None:
    async with link(server, user) as bystander, link(server, user) as client:
        await bystander.open(0, user.library_id)
        await client.connection.send(frame)
        assert await client.close_code() == Close.MALFORMED
        await bystander.send(Ping(3))
        assert await bystander.next() == Pong(3)


async def test_a_frame_past_the_limit_closes_with_4413(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.connection.send(b"x" * (PART_BYTES + 2048))
        assert await client.close_code() == Close.TOO_LARGE


# --- pushes


async def test_a_push_is_acknowledged_once_it_is_committed_and_not_sent_back(server: Running, user: User) -> None:
    async with link(server, user) as left, link(server, user) as right:
        await left.open(0, user.library_id)
        await right.open(5, user.library_id)
        edits = [typed("a", 11, place) for place in range(3)]
        await left.send(*(Push(0, 10 + place, edit) for place, edit in enumerate(edits)))
        assert [await left.next() for _ in edits] == [Ack(0, 10 + place, BORN + 1 + place, True) for place in range(3)]
        assert [await right.next() for _ in edits] == [Update(5, BORN + 1 + place, edit) for place, edit in enumerate(edits)]
        assert [update for _, update in await server.log(user.library_id)] == [SEED, *edits]


async def test_what_is_stored_already_is_acknowledged_as_not_new(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.send(Push(0, 1, typed("a", 11, 0)), Push(0, 2, typed("a", 11, 0)), Push(0, 3, b"\x00\x00"))
        answers = {await client.next() for _ in range(3)}
        assert answers >= {Ack(0, 1, BORN + 1, True), Ack(0, 2, BORN + 1, False)}
        assert {(answer.ref, answer.new) for answer in answers if isinstance(answer, Ack)} == {(1, True), (2, False), (3, False)}


async def test_own_and_foreign_updates_come_in_the_order_of_the_log_without_gaps(server: Running, user: User) -> None:
    async with link(server, user) as left, link(server, user) as right:
        await left.open(0, user.library_id)
        await right.open(0, user.library_id)

        async def push(client: LinkClient, who: int) -> list[int]:
            await client.send(*(Push(0, place, typed("x", who, place)) for place in range(50)))
            seqs: list[int] = []
            while len(seqs) < 100:
                message = await client.next()
                assert isinstance(message, Ack | Update)
                seqs.append(message.seq)
            return seqs

        assert list(await asyncio.gather(push(left, 11), push(right, 2))) == [list(range(BORN + 1, BORN + 101))] * 2


async def test_a_stock_device_and_a_channel_share_a_library_and_see_each_other(server: Running, user: User) -> None:
    async with server.device(user) as stock, link(server, user) as client:
        await client.open(0, user.library_id)
        replica = Replica()
        await client.send(Push(0, 1, replica.write_prompt("p", "from a channel 频道 🙂")))
        await client.expect(Ack)
        await stock.until(lambda: "p" in stock.replica.prompts(), what="the channel's edit")
        await stock.push(stock.replica.edit_text("p", 0, insert="answer: "))
        update = await client.expect(Update)
        replica.apply(update.update)
        assert replica.prompts() == {"p": "answer: from a channel 频道 🙂"}


async def test_a_large_push_goes_in_parts_and_arrives_in_parts(server: Running, user: User) -> None:
    replica, other = Replica(), Replica()
    large = replica.write_prompt("large", "提示" * 500_000)
    assert len(large) > 2 * PART_BYTES
    async with link(server, user) as left, link(server, user) as right:
        await left.open(0, user.library_id)
        await right.open(3, user.library_id)
        await left.send(Push(0, 1, large))
        assert await left.next() == Ack(0, 1, BORN + 1, True)
        assert await right.next() == Update(3, BORN + 1, large)
    async with link(server, user) as late:
        _, synced = await late.open(0, user.library_id)
        other.apply(synced.update)
    assert other.prompts() == replica.prompts()
    assert server.app.hall.inspecting_bytes == 0


async def test_a_push_in_parts_that_is_given_up_leaves_nothing_behind(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.raw("part", 0, 1, b"x" * 1000)
        await until(lambda: server.app.hall.joins.nbytes == 1000, "the part")
    await until(lambda: server.app.hall.joins.nbytes == 0, "its end")


@pytest.mark.parametrize(
    ("update", "code"), [(b"\xff", "invalid_update"), (b"\x01", "invalid_update"), (b"\xc8\xee\xdb\x70", "invalid_update")], ids=str
)
async def test_a_push_that_cannot_be_read_fails_alone(server: Running, user: User, update: bytes, code: str) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.send(Push(0, 1, update), Push(0, 2, typed("a", 11, 0)))
        error = await client.next()
        assert isinstance(error, Error)
        assert (error.channel, error.ref, error.code) == (0, 1, code)
        assert await client.next() == Ack(0, 2, BORN + 1, True)


async def test_a_push_past_the_limit_fails_alone(database_dsn: str) -> None:
    async with running_server(database_dsn, max_update_bytes=2 << 20) as server:
        user = await server.user()
        async with link(server, user) as client:
            await client.open(0, user.library_id)
            await client.send(Push(0, 1, b"\x01" * (3 << 20)), Push(0, 2, typed("a", 11, 0)))
            error = await client.next()
            assert isinstance(error, Error)
            assert (error.ref, error.code) == (1, "too_large")
            assert await client.next() == Ack(0, 2, BORN + 1, True)


async def test_a_viewer_may_look_and_is_told_that_it_may_not_write(server: Running, user: User) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    async with link(server, user) as owner, link(server, viewer) as client:
        await owner.open(0, user.library_id)
        opened, _ = await client.open(0, user.library_id)
        assert opened.role == "viewer"
        await client.send(Push(0, 1, typed("a", 11, 0)))
        error = await client.next()
        assert isinstance(error, Error)
        assert (error.ref, error.code) == (1, "forbidden")
        await owner.send(Push(0, 1, typed("b", 2, 0)))
        assert await client.next() == Update(0, BORN + 1, typed("b", 2, 0))


async def test_a_database_that_cannot_store_costs_the_push_and_not_the_channel(database_dsn: str) -> None:
    async with running_server(database_dsn, writer_queue_bytes=100) as server:
        user = await server.user()
        async with link(server, user) as client:
            await client.open(0, user.library_id)
            await client.send(*(Push(0, ref, typed("x" * 50, 11, ref * 50)) for ref in range(5)))
            answers = [await client.next() for _ in range(5)]
            refused = [answer for answer in answers if isinstance(answer, Error)]
            assert refused
            assert {error.code for error in refused} == {"try_later"}
            await client.send(*(Push(0, error.ref, typed("x" * 50, 11, error.ref * 50)) for error in refused[:1] if error.ref is not None))
            assert isinstance(await client.next(), Ack)


# --- opening


async def test_opened_tells_what_the_server_holds_and_synced_brings_the_rest(server: Running, user: User) -> None:
    mine, theirs = Replica(), Replica()
    async with link(server, user) as first:
        await first.open(0, user.library_id)
        await first.send(Push(0, 1, theirs.write_prompt("theirs", "t")))
        await first.expect(Ack)
        mine.write_prompt("mine", "m")
        async with link(server, user) as second:
            opened, synced = await second.open(0, user.library_id, mine.state_vector())
            assert decode_state_vector(opened.vector) == decode_state_vector(theirs.state_vector()) | SEEDED
            mine.apply(synced.update)
            await second.send(Push(0, 1, mine.missing(opened.vector)))
            assert await second.expect(Ack) == Ack(0, 1, BORN + 2, True)
            theirs.apply((await first.expect(Update)).update)
    assert mine.prompts() == theirs.prompts() == {"theirs": "t", "mine": "m"}


async def test_a_cursor_brings_just_what_lies_after_it(server: Running, user: User) -> None:
    edits = [typed("a", 11, place) for place in range(5)]
    async with link(server, user) as client:
        opened, _ = await client.open(0, user.library_id)
        await client.send(*(Push(0, place, edit) for place, edit in enumerate(edits)))
        for _ in edits:
            await client.expect(Ack)
    async with link(server, user) as client:
        opened, synced = await client.open(0, user.library_id, epoch=opened.epoch, cursor=BORN + 4)
        assert synced == Synced(0, BORN + 5, edits[4])
        _, synced = await client.open(1, user.library_id, epoch=opened.epoch + 1, cursor=BORN + 4)
        assert len(synced.update) > len(edits[4]), "another epoch: the vector counts"


async def test_an_unreadable_vector_and_a_foreign_library_close_the_channel_alone(server: Running, user: User) -> None:
    stranger = await server.user()
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.send(Open(channel=1, library=user.library_id, vector=b"\x80"))
        assert (await client.expect(Closed)).code == Close.MALFORMED
        for library in (stranger.library_id, uuid4()):
            await client.send(Open(channel=1, library=library, vector=b"\x00"))
            closed = await client.expect(Closed)
            assert (closed.channel, closed.code) == (1, Close.NOT_FOUND)
        await client.send(Push(0, 1, typed("a", 11, 0)))
        assert await client.expect(Ack) == Ack(0, 1, BORN + 1, True)


async def test_several_libraries_on_one_socket_stay_apart(server: Running, user: User) -> None:
    other = await server.library(user)
    async with link(server, user) as client, link(server, user) as watcher:
        for number, library in enumerate((user.library_id, other)):
            await client.open(number, library)
        await watcher.open(9, other)
        await client.send(Push(0, 1, typed("a", 11, 0)), Push(1, 1, typed("b", 2, 0)))
        assert {await client.next() for _ in range(2)} == {Ack(0, 1, BORN + 1, True), Ack(1, 1, BORN + 1, True)}
        assert await watcher.next() == Update(9, BORN + 1, typed("b", 2, 0))


async def test_the_same_library_on_two_channels_of_a_socket_works(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.open(1, user.library_id)
        await client.send(Push(0, 1, typed("a", 11, 0)))
        assert {await client.next() for _ in range(2)} == {Ack(0, 1, BORN + 1, True), Update(1, BORN + 1, typed("a", 11, 0))}


async def test_channels_are_bounded(server: Running, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_CHANNELS", 2)
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.open(1, user.library_id)
        await client.send(Open(channel=2, library=user.library_id, vector=b"\x00"))
        assert (await client.expect(Error)).code == "too_many_channels"
        await client.send(CloseChannel(0))
        assert await client.expect(Closed) == Closed(0, 1000, "closed")
        await client.open(2, user.library_id)


async def test_what_is_said_on_a_closed_channel_is_an_error_and_its_number_is_free(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.send(CloseChannel(0), Push(0, 1, typed("a", 11, 0)), Open(channel=0, library=user.library_id, vector=b"\x00"))
        assert await client.expect(Error) == Error(0, 1, "channel_closed", "the channel is not open")
        await client.expect(Opened)
        await client.send(Open(channel=0, library=user.library_id, vector=b"\x00"))
        assert await client.close_code() == Close.MALFORMED


async def test_a_channel_that_is_closed_hears_nothing_and_leaves_its_room(server: Running, user: User) -> None:
    async with link(server, user) as client, server.device(user) as stock:
        await client.open(0, user.library_id)
        await client.send(CloseChannel(0))
        await client.expect(Closed)
        await stock.push(stock.replica.write_prompt("p", "unheard"))
        await stock.confirmed()
        await client.send(Ping(1))
        assert await client.next() == Pong(1)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        assert len(room.members) == 1


# --- presence, status


async def test_presence_crosses_dialects_and_goes_with_its_channel(server: Running, user: User) -> None:
    async with link(server, user) as left, link(server, user) as right:
        await left.open(0, user.library_id)
        await right.open(4, user.library_id)
        await left.send(Presence(0, encode_presence([Entry(1, 1, '{"name":"左"}')])))
        own = await left.expect(Presence)
        assert decode_presence(own.entries) == [Entry(1, 1, '{"name":"左"}')]
        await right.send(Presence(4, encode_presence([Entry(2, 1, "{}")])))
        heard = await right.expect(Presence, lambda message: any(entry.client == 1 for entry in decode_presence(message.entries)))
        assert heard.channel == 4
        await left.send(CloseChannel(0))
        gone = await right.expect(Presence, lambda message: any(entry.state == "null" for entry in decode_presence(message.entries)))
        assert decode_presence(gone.entries) == [Entry(1, 1, "null")]
        await right.send(Presence(4, b"\xff"), Ping(1))
        assert (await right.expect(Error)).code == "invalid_presence"
        await right.expect(Pong)


async def test_status_tells_how_the_library_stands(server: Running, user: User) -> None:
    async with link(server, user) as client:
        opened, _ = await client.open(0, user.library_id)
        await client.send(Push(0, 1, typed("a", 11, 0)))
        await client.expect(Ack)
        await client.send(StatusAsked(channel=0, cursor=BORN + 1))
        status = await client.expect(Status)
        assert (status.head, status.epoch, status.unsaved, status.storing, status.ask) == (BORN + 1, opened.epoch, 0, True, False)
        assert decode_state_vector(status.vector) == {11: 1} | SEEDED
        (device,) = server.app.hall.devices
        assert device.known_seq == BORN + 1


async def test_who_is_asked_to_exchange_pushes_what_the_server_lacks(server: Running, user: User) -> None:
    replica = Replica()
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        replica.write_prompt("kept", "to itself")
        (device,) = server.app.hall.devices
        exchange = asyncio.create_task(device.exchange())
        asked = await client.expect(Status)
        assert asked.ask
        await client.send(Push(0, 1, replica.missing(asked.vector)), StatusAsked(channel=0))
        await asyncio.wait_for(exchange, 5)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        assert room.head == BORN + 1
        again = asyncio.create_task(device.exchange())
        await client.expect(Status, lambda status: status.ask)
    await asyncio.wait_for(again, 5)


async def test_a_stock_device_is_asked_to_exchange_too(server: Running, user: User) -> None:
    async with server.device(user) as stock:
        stock.replica.write_prompt("kept", "to itself")
        (device,) = server.app.hall.devices
        await asyncio.wait_for(device.exchange(), 5)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        assert room.head == BORN + 1
        await until(lambda: device.known_seq is not None, "a pong")


# --- the end


async def test_a_revoked_session_ends_the_socket_and_a_deleted_library_its_channel(server: Running, user: User) -> None:
    other = await server.library(user)
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.open(1, other)
        async with server.http(user) as http:
            assert (await http.delete(f"/api/libraries/{other}")).status_code in {200, 204}
            closed = await client.expect(Closed)
            assert (closed.channel, closed.code) == (1, Close.NOT_FOUND)
            await client.send(Push(0, 1, typed("a", 11, 0)))
            assert await client.expect(Ack) == Ack(0, 1, BORN + 1, True)
            await http.post("/api/auth/logout", json={"refresh_token": user.refresh_token})
        assert await client.close_code() == Close.UNAUTHENTICATED


async def test_a_session_that_has_ended_opens_nothing_more(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await server.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", user.session_id)
        await client.send(Open(channel=0, library=user.library_id, vector=b"\x00"))
        assert await client.close_code() == Close.UNAUTHENTICATED


async def test_a_room_that_is_dropped_closes_its_channels_with_1012_and_the_socket_stays(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        server.app.rooms.drop(room, Close.RESTART, "start again")
        assert (await client.expect(Closed)).code == Close.RESTART
        await client.open(0, user.library_id)


async def test_a_slow_reader_is_closed_with_1013(database_dsn: str) -> None:
    async with running_server(database_dsn, outbox_bytes=64 << 10) as server:
        user = await server.user()
        async with link(server, user) as writer, bare_link(server, f"bearer.{user.sync_token}") as reader:
            await reader.hello()
            await reader.open(0, user.library_id)
            await writer.open(0, user.library_id)
            reader.connection.transport.pause_reading()
            text = "x" * 30_000
            for place in range(200):
                await writer.send(Push(0, place, typed(text, 11, place * len(text))))
                await writer.expect(Ack)
            await until(lambda: len(server.app.hall.devices) == 1, "the slow reader's end")
            reader.connection.transport.resume_reading()
            assert await reader.close_code() in {Close.TRY_LATER, 1006}
