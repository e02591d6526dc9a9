"""`POST /api/sync/{library}` in msgpack: an update in, and all that the device lacked out, in one exchange."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import msgpack
import pytest

from crdt.errors import InvalidUpdate
from crdt.replica import Replica
from crdt.seed import SEED
from crdt.updates import EMPTY_UPDATE, decode_state_vector, encode_state_vector, inspect
from protocol.exchange import Answered, Asked, decode_answered, encode_asked
from server.routes import sync
from tests.support.born import BORN, SEED_SPANS, SEEDED
from tests.support.core import deleted, spans, typed, typing, until
from tests.support.poison import NO_PARENT
from tests.support.rest import code_of
from tests.support.running import RawSocket, Running, User, running_server
from tests.support.wire_client import WireClient

MSGPACK = {"Content-Type": "application/msgpack"}
NOTHING = encode_state_vector({})


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    async with running_server(shared_dsn, max_upload_bytes=8 << 20, opening_stall_seconds=1.0) as server:
        yield server


async def ask(client: httpx2.AsyncClient, user: User, asked: Asked, library_id: UUID | None = None) -> Answered:
    answer = await client.post(f"/api/sync/{library_id or user.library_id}", content=encode_asked(asked), headers=MSGPACK)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/msgpack"
    return decode_answered(answer.content)


async def refused(client: httpx2.AsyncClient, library_id: UUID, body: bytes) -> tuple[int, str]:
    answer = await client.post(f"/api/sync/{library_id}", content=body, headers=MSGPACK)
    return answer.status_code, code_of(answer)


async def test_two_devices_without_a_socket_agree(client: httpx2.AsyncClient, user: User, bystander: WireClient) -> None:
    one, other = Replica(), Replica()
    mine = one.write_prompt("p", "from the one")
    answered = await ask(client, user, Asked(one.state_vector(), mine))
    assert (answered.seq, answered.epoch, answered.stored) == (BORN + 1, 1, True)
    assert spans(inspect(answered.update).held) == SEED_SPANS, "of its own it gets nothing back"
    assert decode_state_vector(answered.vector) == decode_state_vector(one.state_vector()) | SEEDED
    await bystander.until(lambda: mine in bystander.shown)
    theirs = other.write_prompt("q", "from the other")
    answered = await ask(client, user, Asked(other.state_vector(), theirs))
    other.apply(answered.update)
    assert (answered.seq, answered.stored) == (BORN + 2, True)
    answered = await ask(client, user, Asked(one.state_vector()))
    one.apply(answered.update)
    assert (answered.seq, answered.stored) == (BORN + 2, False)
    assert one.prompts() == other.prompts() == {"p": "from the one", "q": "from the other"}


async def test_every_deletion_is_in_the_answer(client: httpx2.AsyncClient, user: User) -> None:
    await ask(client, user, Asked(NOTHING, typed("abcd", 11, 0)))
    answered = await ask(client, user, Asked(encode_state_vector(SEEDED | {11: 4}), deleted(11, 1, 2)))
    assert spans(inspect(answered.update).deleted) == [(11, 1, 3)]
    assert not inspect(answered.update).held


async def test_an_update_that_adds_nothing_is_not_stored_again(client: httpx2.AsyncClient, user: User) -> None:
    for stored in (True, False):
        answered = await ask(client, user, Asked(encode_state_vector({11: 2}), typed("ab", 11, 0)))
        assert (answered.seq, answered.stored) == (BORN + 1, stored)
    answered = await ask(client, user, Asked(NOTHING, EMPTY_UPDATE))
    assert (answered.seq, answered.stored, sorted(spans(inspect(answered.update).held))) == (BORN + 1, False, [*SEED_SPANS, (11, 0, 2)])


async def test_a_gap_shows_in_the_servers_vector(client: httpx2.AsyncClient, user: User) -> None:
    answered = await ask(client, user, Asked(encode_state_vector({11: 4}), typed("cd", 11, 2)))
    assert decode_state_vector(answered.vector) == SEEDED
    answered = await ask(client, user, Asked(encode_state_vector({11: 4}), typed("ab", 11, 0)))
    assert decode_state_vector(answered.vector) == SEEDED | {11: 4}


# --- with a cursor


async def test_a_cursor_gets_what_lies_after_it_without_ones_own(client: httpx2.AsyncClient, user: User) -> None:
    for update in (*typing(11, 3), deleted(11, 0, 1)):
        await ask(client, user, Asked(NOTHING, update))
    answered = await ask(client, user, Asked(NOTHING, typed("own", 2, 0), epoch=1, cursor=BORN + 2))
    assert (spans(inspect(answered.update).held), spans(inspect(answered.update).deleted)) == ([(11, 2, 3)], [(11, 0, 1)])
    assert answered.seq == BORN + 5
    answered = await ask(client, user, Asked(NOTHING, epoch=1, cursor=answered.seq))
    assert (answered.update, answered.seq) == (EMPTY_UPDATE, BORN + 5)


@pytest.mark.parametrize(("epoch", "cursor"), [(2, BORN + 2), (0, BORN + 2), (None, BORN + 2), (1, 99), (1, None)])
async def test_without_a_cursor_of_this_epoch_the_vector_tells(
    client: httpx2.AsyncClient, user: User, epoch: int | None, cursor: int | None
) -> None:
    for update in typing(11, 4):
        await ask(client, user, Asked(NOTHING, update))
    answered = await ask(client, user, Asked(encode_state_vector(SEEDED | {11: 1}), epoch=epoch, cursor=cursor))
    assert spans(inspect(answered.update).held) == [(11, 1, 4)]


async def test_what_another_process_has_stored_is_in_the_answer(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    await ask(client, user, Asked(NOTHING, typed("a", 11, 0)))  # its room stays, and nobody is in it who would listen
    async with (
        running_server(server.services.database._dsn, keyring=server.services.keyring) as other,
        other.http(user) as there,
    ):
        await ask(there, user, Asked(NOTHING, typed("b", 11, 1)))
    for asked in (Asked(encode_state_vector(SEEDED)), Asked(NOTHING, epoch=1, cursor=BORN)):
        answered = await ask(client, user, asked)
        assert (answered.seq, spans(inspect(answered.update).held)) == (BORN + 2, [(11, 0, 2)])


async def test_what_is_in_quarantine_comes_apart(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    for update in (typed("a", 11, 0), NO_PARENT):
        await ask(client, user, Asked(encode_state_vector({11: 9}), update))
    await server.app.compactor.compact(user.library_id)
    for asked in (Asked(encode_state_vector(SEEDED)), Asked(encode_state_vector(SEEDED), epoch=2, cursor=BORN + 1)):
        answered = await ask(client, user, asked)
        assert (answered.epoch, answered.quarantined) == (2, (NO_PARENT,))
        assert spans(inspect(answered.update).held) == [(11, 0, 1)]


# --- what is refused


ASKED: dict[str, Any] = {"vector": b"\x00"}
HUGE = (2**32 - 1).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request"),
        (b"\x00", "invalid_request"),
        (b"\xff" * 1000, "invalid_request"),
        (b"\x81\xa6vector\xc6" + HUGE, "invalid_request"),
        (b"\xdf" + HUGE, "invalid_request"),
        (b"\x91" * 100_000, "invalid_request"),
        (msgpack.packb({}), "invalid_request"),
        (msgpack.packb(ASKED | {"more": 1}), "invalid_request"),
        (msgpack.packb(ASKED | {"update": "text"}), "invalid_request"),
        (msgpack.packb(ASKED | {"cursor": -1}), "invalid_request"),
        (msgpack.packb(ASKED | {"epoch": True}), "invalid_request"),
        (msgpack.packb(ASKED)[:-1], "invalid_request"),
        (msgpack.packb(ASKED) + b"\x00", "invalid_request"),
        (msgpack.packb({"vector": b""}), "invalid_vector"),
        (msgpack.packb({"vector": b"\xff\xff\xff\xff\x0f"}), "invalid_vector"),
        (msgpack.packb({"vector": b"\x01", "update": typed("a", 11, 0)}), "invalid_vector"),
        (msgpack.packb(ASKED | {"update": b""}), "invalid_update"),
        (msgpack.packb(ASKED | {"update": b"\x00"}), "invalid_update"),
        (msgpack.packb(ASKED | {"update": bytes.fromhex("c8eedb70")}), "invalid_update"),
    ],
)
async def test_what_is_no_exchange_is_refused_and_stores_nothing(
    client: httpx2.AsyncClient, user: User, bystander: WireClient, body: bytes, code: str
) -> None:
    assert await refused(client, user.library_id, body) == (422, code)
    assert (await ask(client, user, Asked(NOTHING))).seq == BORN
    assert bystander.shown == [SEED]  # what it was opened with


async def test_another_users_library_is_like_none(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    stranger = await server.user()
    for library_id in (stranger.library_id, uuid4()):
        assert await refused(client, library_id, encode_asked(Asked(NOTHING))) == (404, "not_found")
    await server.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", user.library_id)
    assert await refused(client, user.library_id, encode_asked(Asked(NOTHING))) == (404, "not_found")


async def test_only_an_access_token_opens_this_door(server: Running, user: User) -> None:
    async with server.http() as client:
        for token in (user.sync_token, user.refresh_token, "x"):
            headers = MSGPACK | {"Authorization": f"Bearer {token}"}
            answer = await client.post(f"/api/sync/{user.library_id}", content=encode_asked(Asked(NOTHING)), headers=headers)
            assert answer.status_code == 401, token


async def test_a_viewer_may_ask_and_repeat_but_not_add(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    await ask(client, user, Asked(NOTHING, typed("a", 11, 0)))
    async with server.http(viewer) as theirs:
        for update in (None, typed("a", 11, 0)):
            answered = await ask(theirs, viewer, Asked(encode_state_vector(SEEDED), update), user.library_id)
            assert (answered.stored, spans(inspect(answered.update).held)) == (False, [(11, 0, 1)])
        adding = encode_asked(Asked(NOTHING, typed("b", 11, 1)))
        assert await refused(theirs, user.library_id, adding) == (403, "forbidden")


async def test_a_body_past_the_limit_is_refused(client: httpx2.AsyncClient, user: User) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield bytes(1 << 20)

    answer = await client.post(f"/api/sync/{user.library_id}", content=in_chunks(), headers=MSGPACK)
    assert (answer.status_code, code_of(answer)) == (413, "too_large")


@pytest.mark.usefixtures("raw_sockets")
async def test_a_body_that_trickles_ends(server: Running, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "UPLOAD_SECONDS", 0.2)
    raw = await RawSocket.connected(server.port)
    raw.send(posted(user, b"\x81", length=100))
    assert b" 408 " in await asyncio.wait_for(raw.reader.readline(), 10)


def posted(user: User, body: bytes, *, length: int | None = None) -> bytes:
    """A request as it goes over the wire."""
    return (
        f"POST /api/sync/{user.library_id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {user.access_token}\r\n"
        f"Content-Type: application/msgpack\r\nContent-Length: {length or len(body)}\r\n\r\n".encode()
        + body
    )


async def test_a_library_that_cannot_be_merged_is_to_be_asked_for_later(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(*arguments: object) -> bytes:
        raise InvalidUpdate("Yrs broke on it")

    monkeypatch.setattr(server.app.shelf, "missing", missing)
    assert await refused(client, user.library_id, encode_asked(Asked(NOTHING))) == (503, "try_later")


@pytest.mark.usefixtures("raw_sockets")
async def test_a_large_answer_counts_while_it_is_on_its_way_and_is_given_up_when_it_is_not_read(
    server: Running, client: httpx2.AsyncClient, user: User
) -> None:
    large = typed(os.urandom(3 << 20).hex(), 11, 0)
    assert (await ask(client, user, Asked(encode_state_vector({11: 1 << 30}), large))).stored
    assert (await ask(client, user, Asked(encode_state_vector(SEEDED)))).update == large
    budget = server.app.hall.opening_budget
    raw = await RawSocket.connected(server.port, receive_buffer=4096)
    raw.stop_reading()
    raw.send(posted(user, encode_asked(Asked(NOTHING))))
    await until(lambda: budget._taken > 0, "an answer on its way")
    await until(lambda: budget._taken == 0, "the end of it")
