"""Who may open a library on a socket, and what devices say to each other there."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from auth.tokens import Tokens
from crdt.updates import EMPTY_STATE_VECTOR, decode_state_vector, inspect
from protocol import ysync
from protocol.closes import Close
from server.times import utc_now
from tests.support.born import BORN_VECTOR, SEED_SPANS, SEEDED
from tests.support.core import spans, typed, typing
from tests.support.running import (
    SIGNING_KEY,
    RawSocket,
    Running,
    User,
    closed,
    masked,
    next_data,
    next_update,
    running_server,
)
from tests.support.wire_client import WireClient


def bearer(token: str) -> dict[str, object]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}, "subprotocols": ["yjs"]}


async def refusal(server: Running, path: str, **options: object) -> tuple[int | None, str]:
    return await closed(await server.open(path, **options))


# --- coming in


async def test_a_token_in_the_header_opens_a_socket(server: Running, user: User) -> None:
    for token in (user.sync_token, user.access_token):
        async with await server.open(f"/sync/{user.library_id}", **bearer(token)) as socket:
            assert socket.subprotocol == "yjs"
            assert ysync.decode(await next_data(socket)) == ysync.Step1(BORN_VECTOR)


async def test_a_token_among_the_subprotocols_opens_a_socket_and_is_never_selected(server: Running, user: User) -> None:
    for offers in (["yjs", f"bearer.{user.sync_token}"], [f"bearer.{user.sync_token}", "other", "yjs"]):
        async with await server.open(f"/sync/{user.library_id}", subprotocols=offers) as socket:
            assert socket.subprotocol == "yjs"
            assert ysync.decode(await next_data(socket)) == ysync.Step1(BORN_VECTOR)


async def test_without_exactly_one_token_there_is_no_entry(server: Running, user: User) -> None:
    path, token = f"/sync/{user.library_id}", user.sync_token
    for options in (
        {"subprotocols": ["yjs"]},
        {"subprotocols": ["yjs", "bearer."]},
        {"subprotocols": ["yjs", f"bearer.{token}", f"bearer.{token}"]},
        bearer(token) | {"subprotocols": ["yjs", f"bearer.{token}"]},
        {"subprotocols": ["yjs"], "additional_headers": {"Authorization": "Basic YTpi"}},
        {"subprotocols": ["yjs"], "additional_headers": [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]},
    ):
        assert (await refusal(server, path, **options))[0] == Close.UNAUTHENTICATED


@pytest.mark.parametrize("name", ["token", "access_token", "TOKEN", "auth", "jwt"])
async def test_a_token_in_the_address_is_refused_even_beside_a_good_one(server: Running, user: User, name: str) -> None:
    code, reason = await refusal(server, f"/sync/{user.library_id}?x=1&{name}={user.sync_token}", **bearer(user.sync_token))
    assert code == Close.UNAUTHENTICATED
    assert "address" in reason
    assert user.sync_token not in reason


async def test_tokens_that_are_not_for_this_are_refused(server: Running, user: User) -> None:
    other = Tokens([("s1", bytes(32))], issuer="promptsync", random=lambda size: bytes(size))
    mine = Tokens([SIGNING_KEY], issuer="promptsync", random=lambda size: bytes(size))
    now = utc_now()
    claims = {"user_id": user.id, "session_id": user.session_id, "generation": 0}
    expired = mine.sync(**claims, now=now - timedelta(hours=2), expires_at=now - timedelta(hours=1))  # type: ignore[arg-type]  # as named
    forged = other.sync(**claims, now=now, expires_at=now + timedelta(hours=1))  # type: ignore[arg-type]  # as named
    for token in (expired, forged, user.refresh_token, "x", user.sync_token[:-2], user.sync_token + "x" * 3000):
        assert (await refusal(server, f"/sync/{user.library_id}", **bearer(token)))[0] == Close.UNAUTHENTICATED


async def test_another_users_library_is_like_none(server: Running, user: User) -> None:
    stranger = await server.user()
    answers = {
        await refusal(server, f"/sync/{library}", **bearer(user.sync_token)) for library in (stranger.library_id, uuid4(), UUID(int=0))
    }
    assert len(answers) == 1
    assert answers.pop()[0] == Close.NOT_FOUND


@pytest.mark.parametrize("path", ["/sync/", "/sync/me", "/sync/x/y", "/", "/other/path", "/sync/..%2f.."])
async def test_an_address_of_no_library_is_answered_with_a_code(server: Running, user: User, path: str) -> None:
    assert (await refusal(server, path, **bearer(user.sync_token)))[0] == Close.NOT_FOUND


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "https://127.0.0.1.evil.example", "file://", ""])
async def test_a_page_that_is_not_known_may_not_open_sockets(server: Running, user: User, origin: str) -> None:
    options = bearer(user.sync_token)
    options["additional_headers"] = {"Authorization": f"Bearer {user.sync_token}", "Origin": origin}
    assert (await refusal(server, f"/sync/{user.library_id}", **options))[0] == Close.FORBIDDEN


async def test_a_page_of_the_same_host_may_open_sockets_where_none_are_listed(server: Running, user: User) -> None:
    async with await server.socket(user, origin=f"http://127.0.0.1:{server.port}") as socket:
        assert ysync.decode(await next_data(socket)) == ysync.Step1(BORN_VECTOR)


async def test_listed_pages_alone_may_open_sockets(database_dsn: str) -> None:
    async with running_server(database_dsn, allowed_origins="https://app.example, https://b.example") as server:
        user = await server.user()
        async with await server.socket(user, origin="https://app.example"):
            pass
        for origin in ("https://app.example.evil", "http://app.example", f"http://127.0.0.1:{server.port}", "https://app.example:444"):
            assert (await closed(await server.socket(user, origin=origin)))[0] == Close.FORBIDDEN


async def test_too_many_openings_from_an_address_are_put_off_before_the_database_is_asked(database_dsn: str) -> None:
    async with running_server(database_dsn, openings_a_minute=3) as server:
        user = await server.user()
        for _ in range(3):
            async with await server.socket(user):
                pass
        await server.execute("ALTER TABLE sessions RENAME TO elsewhere")  # whoever asks now fails
        assert (await closed(await server.socket(user)))[0] == Close.BUSY


# --- the dialect


async def test_devices_sync_a_library(server: Running, user: User) -> None:
    async with server.device(user) as left, server.device(user) as right:
        await left.push(left.replica.write_prompt("p", "提示词 🙂"))
        await left.confirmed()
        await right.until(lambda: right.replica.prompts() == {"p": "提示词 🙂"})
        await right.push(right.replica.edit_text("p", 3, "!"))
        await left.until(lambda: left.replica.prompts() == {"p": "提示词! 🙂"})
    async with server.device(user) as late:
        assert late.replica.prompts() == {"p": "提示词! 🙂"}


async def test_what_is_sent_again_is_echoed_to_its_sender_alone(server: Running, user: User, bystander: WireClient) -> None:
    update = typed("a", 7, 0)
    async with await server.socket(user) as socket:
        await socket.send(ysync.encode_update(update))
        assert await next_update(socket) == update
        await bystander.until(lambda: update in bystander.shown)
        await socket.send(ysync.encode_step2(update))
        assert await next_update(socket) == update
        await socket.send(ysync.encode_update(typed("b", 7, 1)))
        assert await next_update(socket) == typed("b", 7, 1)
        await bystander.until(lambda: typed("b", 7, 1) in bystander.shown)
        assert bystander.shown.count(update) == 1


async def test_deletions_made_while_a_device_is_away_reach_it_though_the_vectors_are_equal(server: Running, user: User) -> None:
    async with server.device(user) as left:
        await left.push(left.replica.write_prompt("p", "text"))
        await left.confirmed()
        away = await server.device(user).connect()
        await away.disconnect()
        vector = away.replica.state_vector()
        await left.push(left.replica.delete_prompt("p"))
        await left.confirmed()
        assert decode_state_vector(left.replica.state_vector()) == decode_state_vector(vector)
        await away.connect()
        assert away.replica.prompts() == {}
        await away.disconnect()


async def test_what_lies_in_a_gap_is_asked_for(server: Running, user: User) -> None:
    async with await server.socket(user) as socket:
        for update in (typed("0123456789", 5, 0), typed("abcdefghij", 5, 20)):
            await socket.send(ysync.encode_update(update))
            assert await next_update(socket) == update
    async with await server.socket(user) as socket:
        asked = ysync.decode(await next_data(socket))
        assert isinstance(asked, ysync.Step1)
        assert decode_state_vector(asked.state_vector) == SEEDED | {5: 10}  # from clock 10 on
        await socket.send(ysync.encode_step1(asked.state_vector))
        answer = ysync.decode(await next_data(socket))
        assert isinstance(answer, ysync.Step2)
        assert list(inspect(answer.update).held) == [5, 20, 30]


async def test_each_opening_is_answered_with_one_step_2(server: Running, user: User) -> None:
    async with await server.socket(user) as socket:
        for update in typing(11, 50):
            await socket.send(ysync.encode_update(update))
        while await next_update(socket) != typing(11, 50)[-1]:
            pass
    async with await server.socket(user) as socket:
        await next_data(socket)
        for _ in range(3):
            await socket.send(ysync.encode_step1(EMPTY_STATE_VECTOR))
            answer = ysync.decode(await next_data(socket))
            assert isinstance(answer, ysync.Step2)
            assert sorted(spans(inspect(answer.update).held)) == [*SEED_SPANS, (11, 0, 50)]


async def test_frames_in_one_segment_and_in_pieces_are_read_in_order(server: Running, user: User, bystander: WireClient) -> None:
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    made = typing(3, 40)
    frames = [ysync.encode_update(update) for update in made]
    raw.send(*map(masked, frames[:20]))
    for frame in frames[20:30]:
        for part in (masked(frame[:5], fin=False), masked(b"", 0, fin=False), masked(b"hi", 9), masked(frame[5:], 0)):
            raw.send(part)
    for byte in b"".join(map(masked, frames[30:])):
        raw.send(bytes((byte,)))
        await asyncio.sleep(0)
    await bystander.until(lambda: made[-1] in bystander.shown)
    assert [update for update in bystander.shown if update in made] == made
    raw.abort()


async def test_a_ping_is_answered(server: Running, user: User) -> None:
    async with await server.socket(user) as socket:
        await asyncio.wait_for(await socket.ping(), 5)
