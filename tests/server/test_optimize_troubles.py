"""Improvements whose askers go away, repeat themselves or read slowly, and servers that stop meanwhile."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from server import heads
from server.ai.calls import Reasoning, Token
from server.errors import IdempotencyInProgress
from server.heads import BoundedHttp
from server.idempotency import ABANDONED_AFTER, REPLAYED, Asked, Attempt, Idempotency
from server.optimizer import STOP_SECONDS, Optimization
from server.reading_along import TAKEN, ReadingAlong
from server.routes import event_stream, optimize
from tests.support.core import eventually, until
from tests.support.improving import CONFIG, Improving, improving_server, path_of, token_text
from tests.support.rest import code_of
from tests.support.running import RawSocket, Running
from tests.support.scripted_provider import CHUNKED, Line, Reply, ScriptedProvider, fails, never_ends, says, stalls
from tests.support.scripted_provider import Asked as Called

RESULT = "the result"


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[tuple[Running, ScriptedProvider]]:
    async with improving_server(shared_dsn) as running:
        yield running


@asynccontextmanager
async def in_world(running: tuple[Running, ScriptedProvider]) -> AsyncIterator[Improving]:
    server, provider = running
    provider.asked.clear()
    provider.hung_up = 0
    provider.answer(says("the", " result"))
    user = await server.user()
    async with server.http(user) as client:
        yield await Improving.begin(server, provider, client, user)


@pytest.fixture
async def world(running: tuple[Running, ScriptedProvider]) -> AsyncIterator[Improving]:
    async with in_world(running) as world:
        yield world


async def at_rest(world: Improving) -> None:
    """Wait until nothing runs any more."""
    await until(lambda: len(world.server.app.optimizer) == 0, "the end of all improvements")


# --- who asked has gone


async def test_a_reader_who_goes_while_the_model_answers_ends_the_call(world: Improving) -> None:
    prompt_id = await world.prompt()
    world.provider.then(never_ends(pause=0.01))
    async with world.reading(prompt_id) as found:
        await anext(found)
    await world.provider.disconnected()
    await at_rest(world)
    assert await world.versions(prompt_id) == []


async def test_who_waits_for_the_whole_answer_and_goes_ends_the_call_too(world: Improving) -> None:
    prompt_id = await world.prompt()
    world.provider.then(never_ends(pause=0.01))
    asking = asyncio.create_task(world.optimize(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    asking.cancel()
    await asyncio.wait((asking,))
    await world.provider.disconnected()
    await at_rest(world)
    assert await world.versions(prompt_id) == []


@asynccontextmanager
async def locked(dsn: str, world: Improving) -> AsyncIterator[None]:
    """Nothing can be stored in the user's library for as long as the block runs."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM libraries WHERE id = $1 FOR UPDATE", world.user.library_id)
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_once_the_model_has_finished_the_version_is_made_though_nobody_listens(
    world: Improving, shared_dsn: str, stream: bool
) -> None:
    prompt_id = await world.prompt()
    async with locked(shared_dsn, world):
        asking = asyncio.create_task(world.optimize(prompt_id, stream=stream))
        (one,) = await running_ones(world)
        await until(lambda: not one._is_answering, "the end of the answer")
        asking.cancel()
        await asyncio.wait((asking,))
    await until(lambda: len(world.server.app.optimizer) == 0, "the version")
    (version,) = await world.versions(prompt_id)
    assert version["current"]
    assert world.provider.hung_up == 0


async def running_ones(world: Improving) -> list[Optimization]:
    """Those that run."""
    await until(lambda: len(world.server.app.optimizer) > 0, "an improvement to run")
    return list(world.server.app.optimizer._running)


GONE: Sequence[tuple[str, Reply]] = [
    ("silent", stalls()),
    ("silent after its head", stalls(after_head=True)),
    ("talking", never_ends(pause=0.01)),
]
FAILED: Sequence[tuple[str, Reply]] = [
    ("refused", fails(401)),
    ("empty", says("")),
    ("only a fence", says("```\n", "\n```")),
    ("cut", says("a", "b", cut_after=1)),
    ("too large", never_ends("x" * 50_000)),
    ("made", says("the ", "result")),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("reply", [reply for _, reply in GONE], ids=[name for name, _ in GONE])
async def test_who_goes_gives_the_place_back_and_has_one_call_in_usage(world: Improving, reply: Reply, stream: bool) -> None:
    prompt_id = await world.prompt()
    world.provider.then(reply)
    asking = asyncio.create_task(world.optimize(prompt_id, stream=stream))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    asking.cancel()
    await asyncio.wait((asking,))
    await world.provider.disconnected()
    await at_rest(world)
    await has_used(world, calls=1, cancelled=1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("reply", [reply for _, reply in FAILED], ids=[name for name, _ in FAILED])
async def test_a_call_that_ends_gives_its_place_back_and_is_once_in_usage(world: Improving, reply: Reply, stream: bool) -> None:
    prompt_id = await world.prompt()
    world.provider.then(reply)
    await world.optimize(prompt_id, stream=stream)
    await at_rest(world)
    await has_used(world, calls=1, cancelled=0)


async def has_used(world: Improving, *, calls: int, cancelled: int) -> None:
    """No call runs, and usage has so many."""
    assert not world.server.services.models._allowance._running
    total = (await world.client.get("/api/usage")).json()["total"]
    assert (total["calls"], total["cancelled"]) == (calls, cancelled)


# --- repeated under a key


@pytest.mark.parametrize("again", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("first", [False, True], ids=["plain", "stream"])
async def test_the_same_request_again_gets_the_same_version_without_a_call(world: Improving, first: bool, again: bool) -> None:
    prompt_id, key, body = await world.prompt(), uuid4().hex, {"model_config_id": CONFIG}
    answers = []
    for stream in (first, again):
        headers = {"Idempotency-Key": key, "Accept": "text/event-stream" if stream else "application/json"}
        answers.append(await world.client.post(path_of(prompt_id), json=body, headers=headers))
    made = [told(answer, stream) for answer, stream in zip(answers, (first, again), strict=True)]
    assert made[0] == made[1]
    assert answers[1].headers[REPLAYED] == "true"
    assert len(world.provider.calls) == len(await world.versions(prompt_id)) == 1


def told(answer: httpx2.Response, stream: bool) -> object:
    """What an answer tells, in either form."""
    if not stream:
        assert answer.status_code == 201
        return answer.json()
    last = answer.text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: done"
    return json.loads(last[1].removeprefix("data: "))


async def test_a_text_that_was_improved_under_a_key_is_not_improved_again(world: Improving) -> None:
    first = await world.optimize(None, text="x", key="k")
    again = await world.optimize(None, text="x", key="k")
    assert (again.json(), again.headers[REPLAYED]) == (first.json(), "true")
    assert code_of(await world.optimize(None, text="y", key="k")) == "idempotency_key_reused"
    assert len(world.provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_nobody_pays_twice_while_the_first_one_runs(world: Improving, stream: bool) -> None:
    prompt_id, gate = await world.prompt(), asyncio.Event()
    world.provider.then(says(RESULT, gate=gate))
    first = asyncio.create_task(world.optimize(prompt_id, key="k", stream=stream))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    again = await world.optimize(prompt_id, key="k", stream=stream)
    assert (again.status_code, code_of(again)) == (409, "idempotency_in_progress")
    gate.set()
    assert (await first).is_success
    assert (await world.optimize(prompt_id, key="k", stream=stream)).is_success
    assert len(world.provider.calls) == 1


async def test_a_call_that_failed_may_be_tried_again_under_its_key(world: Improving) -> None:
    prompt_id = await world.prompt()
    world.provider.then(fails(500), fails(500), fails(500), fails(500))
    refused = await world.optimize(prompt_id, key="k")
    assert refused.status_code == 502
    world.provider._next.clear()
    assert (await world.optimize(prompt_id, key="k")).status_code == 201


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_process_that_dies_before_its_answer_was_kept_has_made_the_one_version(
    world: Improving, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt_id = await world.prompt("for {{team}} and {{boss}}")
    world.provider.answer(says("for {{team}} and {{me}}"))
    kept = Idempotency.end

    async def lost(self: Idempotency, attempt: Attempt, answer: object) -> None:
        self.leave(attempt)

    monkeypatch.setattr(Idempotency, "end", lost)
    first = await world.optimize(prompt_id, key="k", stream=stream)
    monkeypatch.setattr(Idempotency, "end", kept)
    again = await world.optimize(prompt_id, key="k", stream=stream)
    if not stream:
        assert again.json() == first.json()
        assert again.json()["lost_variables"] == ["boss"]
    else:
        assert told(again, stream) == told(first, stream)
    assert len(world.provider.calls) == len(await world.versions(prompt_id)) == 1


async def test_a_claim_that_is_worked_on_is_not_taken_over_by_another_process(world: Improving) -> None:
    services, now = world.server.services, [world.server.services.clock()]
    one, other = (
        Idempotency(database=services.database, keyring=services.keyring, clock=lambda: now[0], random=services.random) for _ in range(2)
    )
    asked = Asked(user_id=world.user.id, key="k", method="POST", route="/r", path="/r", query=b"", body=b"")
    attempt = await one.begin(asked)
    assert isinstance(attempt, Attempt)
    for _ in range(3):
        now[0] += ABANDONED_AFTER - timedelta(seconds=1)
        await one.hold(attempt)
        with pytest.raises(IdempotencyInProgress):
            await other.begin(asked)
    now[0] += ABANDONED_AFTER
    assert isinstance(await other.begin(asked), Attempt)


# --- slow readers, quiet models


async def test_what_is_not_read_waits_and_comes_in_its_order() -> None:
    along = ReadingAlong()
    along.is_read = True
    for piece in (Token("x" * TAKEN), Token("y"), Reasoning("z"), Reasoning(""), Reasoning("z"), Token("x")):
        along.put(piece)
    assert await along.take(1) == [Token("x" * TAKEN)]
    assert await along.take(1) == [Token("y"), Reasoning("zz"), Token("x")]
    assert await along.take(0.01) == []
    along.put(Token("last"))
    along.close()
    assert not along.over
    assert await along.take(1) == [Token("last")]
    assert along.over


async def test_a_reader_who_is_behind_and_goes_does_not_lose_the_result(world: Improving, monkeypatch: pytest.MonkeyPatch) -> None:
    async def takes_nothing(self: ReadingAlong, within: float) -> list[Token]:
        await asyncio.sleep(0.01)
        return []

    monkeypatch.setattr(ReadingAlong, "take", takes_nothing)
    prompt_id = await world.prompt()
    world.provider.then(says(*["the result "] * 10, reasoning=["hm " * 10_000] * 10))
    asking = asyncio.create_task(world.read(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)

    async def is_stored() -> bool:
        return bool(await world.versions(prompt_id))

    await eventually(is_stored, "the version")
    asking.cancel()
    await asyncio.wait((asking,))
    await at_rest(world)
    assert len(await world.versions(prompt_id)) == 1


async def reading_nothing(world: Improving, prompt_id: str) -> RawSocket:
    """Who has asked for an improvement, and reads nothing of the answer."""
    raw = await RawSocket.connected(world.server.port, receive_buffer=4096)
    raw.stop_reading()
    body = json.dumps({"model_config_id": CONFIG, "stream": True}).encode()
    raw.send(
        f"POST {path_of(prompt_id)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {world.user.access_token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return raw


async def test_who_does_not_read_an_endless_answer_makes_no_memory_of_it(
    world: Improving, raw_sockets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STALL_SECONDS", 1.0)
    written = 0

    async def thinks(asked: Called, line: Line) -> None:
        nonlocal written
        await line.head(200, CHUNKED)
        piece = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm " * 10_000}, "finish_reason": None}]}
        while True:
            await line.chunk(b"data: %b\n\n" % json.dumps(piece).encode())
            written += 30_000

    world.provider.then(thinks)
    prompt_id = await world.prompt()
    await reading_nothing(world, prompt_id)
    await world.provider.disconnected()
    await at_rest(world)
    assert written < 64 << 20  # what the kernel's buffers took, and an answer may have


async def test_the_connection_of_who_does_not_read_is_aborted(world: Improving, raw_sockets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    began, ended = BoundedHttp.connection_made, BoundedHttp.connection_lost

    def begin(connection: BoundedHttp, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else the kernel takes all of it
        began(connection, transport)

    def lose(connection: BoundedHttp, error: Exception | None) -> None:
        lost.append(connection.client[1] if connection.client else 0)
        ended(connection, error)

    monkeypatch.setattr(BoundedHttp, "connection_made", begin)
    monkeypatch.setattr(BoundedHttp, "connection_lost", lose)
    monkeypatch.setattr(heads, "FAREWELL_SECONDS", 0.2)
    monkeypatch.setattr(event_stream, "STALL_SECONDS", 0.5)
    prompt_id = await world.prompt()
    world.provider.then(says("the ", "result", reasoning=["hm " * 10_000] * 20))
    raw = await reading_nothing(world, prompt_id)
    port = raw.writer.get_extra_info("sockname")[1]
    await until(lambda: port in lost, "the end of the connection")
    await at_rest(world)
    assert len(await world.versions(prompt_id)) == 1


async def test_a_quiet_model_is_bridged_by_comments(world: Improving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(optimize, "BEGIN_SECONDS", 0.05)
    gate = asyncio.Event()

    async def thinks(asked: Called, line: Line) -> None:
        await gate.wait()
        await says("done")(asked, line)

    world.provider.then(thinks)
    async with world.client.stream("POST", path_of(await world.prompt()), json={"model_config_id": CONFIG, "stream": True}) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": keep-alive"
        gate.set()
        rest = [line async for line in lines]
    assert "event: done" in rest


# --- a server that stops


async def test_a_server_that_stops_ends_what_runs_with_a_clear_error(database_dsn: str) -> None:
    async with improving_server(database_dsn) as running, in_world(running) as world:
        prompt_id = await world.prompt()
        world.provider.answer(never_ends(pause=0.01))
        plain = asyncio.create_task(world.optimize(prompt_id))
        async with world.reading(prompt_id) as found:
            first = await anext(found)
            await world.provider.until(lambda: len(world.provider.calls) == 2)
            async with asyncio.timeout(5):
                await world.server.app.optimizer.stop()
                rest = [event async for event in found]
        assert (first.name, rest[-1].name, rest[-1].data["code"], rest[-1].data["status"]) == ("token", "error", "try_later", 503)
        answer = await plain
        assert (answer.status_code, code_of(answer)) == (503, "try_later")
        await world.provider.disconnected(2)
        assert await world.versions(prompt_id) == []
        late = await world.optimize(prompt_id, key="k")
        assert (late.status_code, code_of(late)) == (503, "try_later")
        assert len(world.provider.calls) == 2


async def test_a_server_that_stops_lets_a_finished_answer_be_stored(database_dsn: str) -> None:
    async with improving_server(database_dsn) as running, in_world(running) as world:
        prompt_id = await world.prompt()
        async with locked(database_dsn, world):
            asking = asyncio.create_task(world.optimize(prompt_id))
            (one,) = await running_ones(world)
            await until(lambda: not one._is_answering, "the end of the answer")
            stopping = asyncio.create_task(world.server.app.optimizer.stop())
            await asyncio.wait((stopping,), timeout=0.1)
            assert not stopping.done()
        await stopping
        assert (await asking).status_code == 201
        assert len(await world.versions(prompt_id)) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_server_that_stops_gives_out_what_it_cannot_store(database_dsn: str, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with improving_server(database_dsn) as running, in_world(running) as world:
        prompt_id = await world.prompt()

        async def hangs(self: Idempotency, attempt: Attempt, answer: object) -> None:
            await asyncio.Event().wait()

        with monkeypatch.context() as stalled:
            stalled.setattr(Idempotency, "end", hangs)
            async with locked(database_dsn, world):
                asking = asyncio.create_task(world.optimize(prompt_id, key="k", stream=stream))
                (one,) = await running_ones(world)
                await until(lambda: not one._is_answering, "the end of the answer")
                async with asyncio.timeout(STOP_SECONDS + 2):
                    await world.server.app.optimizer.stop()
                answer = await asking
        if stream:
            assert answer.text.rpartition("event: ")[2].startswith("error")
        problem = json.loads(answer.text.rpartition("data: ")[2]) if stream else answer.json()
        assert (problem["status"], problem["code"], problem["result"]["text"]) == (503, "try_later", RESULT)


async def test_a_result_that_can_never_be_stored_is_kept_under_its_key(world: Improving) -> None:
    prompt_id, gate = await world.prompt(), asyncio.Event()
    world.provider.then(says("the ", "result", gate=gate))
    first = asyncio.create_task(world.optimize(prompt_id, key="k"))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    assert (await world.client.delete(f"/api/prompts/{prompt_id}?purge=true")).status_code == 204
    gate.set()
    for answer in (await first, await world.optimize(prompt_id, key="k")):
        assert (answer.status_code, code_of(answer), answer.json()["result"]["text"]) == (404, "not_found", RESULT)
    assert len(world.provider.calls) == 1


async def test_reading_along_shows_everything_once(world: Improving) -> None:
    pieces = [f"piece {number} " for number in range(300)]
    world.provider.then(says(*pieces))
    found = await world.read(await world.prompt())
    assert token_text(found) == "".join(pieces)
    assert found[-1].data["text"] == "".join(pieces).strip()
