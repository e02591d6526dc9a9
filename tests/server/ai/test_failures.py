"""What goes wrong with a call: every failure of a provider has one word here, and none carries a secret."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from auth.model_secret import ModelSecret
from server.ai import wires as wires_module
from server.ai.failures import Outcome
from server.ai.refusals import outcome_of, refusal_of
from server.ai.troubles import retry_after
from server.ai.wires import Wires
from server.config import Settings
from server.outgoing.client import make_client
from server.outgoing.resolver import Address
from tests.support.calling import KEY, WIRES, heard, target_at
from tests.support.scripted_provider import (
    CHUNKED,
    Asked,
    Line,
    Reply,
    ScriptedProvider,
    echoes,
    fails,
    never_ends,
    raw,
    redirects,
    says,
    stalls,
)

PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.REJECTED),
        (401, Outcome.INVALID_KEY),
        (402, Outcome.NO_QUOTA),
        (403, Outcome.INVALID_KEY),
        (404, Outcome.UNKNOWN_MODEL),
        (413, Outcome.REJECTED),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.FAILED),
        (529, Outcome.FAILED),
    ],
)
async def test_a_refusal_in_the_vendors_own_words(
    wires: Wires, provider: ScriptedProvider, wire: str, status: int, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    body: Any = (
        None
        if wire == "anthropic" or status in (400, 401, 404, 429, 500) or (wire, status) == ("gemini", 403)
        else {"error": {"message": "No."}}
    )
    provider.answer(fails(status, body))
    found = await heard(wires, target_at(provider, wire))
    assert found.failed is not None
    assert found.failed.outcome is outcome
    assert found.failed.said  # it is told what the provider says
    assert found.pieces == []


# as the vendors document them, or as their SDKs' issues quote them
DOCUMENTED = [
    (
        429,
        {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}},
        Outcome.NO_QUOTA,
    ),
    (400, {"error": {"message": "too long", "code": "context_length_exceeded", "type": "invalid_request_error"}}, Outcome.REJECTED),
    (
        400,
        [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}],
        Outcome.INVALID_KEY,
    ),
    (429, [{"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}], Outcome.RATE_LIMITED),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}, Outcome.NO_QUOTA),
    (
        400,
        {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "code": "invalid_request_error"}},
        Outcome.UNKNOWN_MODEL,
    ),
    (
        400,
        {"error": {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}},
        Outcome.NO_QUOTA,
    ),
    (401, {"error": {"code": "invalid_api_key", "message": "Incorrect API key provided."}}, Outcome.INVALID_KEY),
    (400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}}, Outcome.REJECTED),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, Outcome.NO_QUOTA),
    (400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None}, Outcome.UNKNOWN_MODEL),
    (429, {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试"}}, Outcome.NO_QUOTA),
    (429, {"error": {"code": "1302", "message": "您的账户已达到速率限制"}}, Outcome.RATE_LIMITED),
    (400, {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}}, Outcome.UNKNOWN_MODEL),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, Outcome.NO_QUOTA),
    (200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, Outcome.INVALID_KEY),
    (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, Outcome.RATE_LIMITED),
    (402, {"error": {"code": 402, "message": "This request requires more credits, or fewer max_tokens."}}, Outcome.NO_QUOTA),
    (404, {"error": {"code": 404, "message": "No endpoints found for made/up."}}, Outcome.UNKNOWN_MODEL),
    (400, {"error": {"code": 400, "message": "made/up is not a valid model ID"}}, Outcome.UNKNOWN_MODEL),
    (404, {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error", "code": None}}, Outcome.UNKNOWN_MODEL),
    (404, {"error": 'model "x" not found, try pulling it first'}, Outcome.UNKNOWN_MODEL),
    (400, {"errors": {"message": "Invalid model id: x is not a valid model"}, "request_id": "1"}, Outcome.UNKNOWN_MODEL),
    (403, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, Outcome.INVALID_KEY),
    (
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}},
        Outcome.NO_QUOTA,
    ),
    (403, {"error": {"code": "unsupported_country_region_territory", "message": "Country not supported"}}, Outcome.REJECTED),
    (404, {"detail": "Not Found"}, Outcome.REJECTED),
    (422, {"detail": [{"msg": "extra"}]}, Outcome.REJECTED),
    (408, {}, Outcome.TIMEOUT),
    (504, "oops", Outcome.TIMEOUT),
    (None, {"error": {"code": 502, "message": "Provider returned error"}}, Outcome.FAILED),
    (None, {"error": {"code": 429, "message": "slow down"}}, Outcome.RATE_LIMITED),
    (None, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Outcome.FAILED),
]


@pytest.mark.parametrize(("status", "content", "outcome"), DOCUMENTED, ids=lambda value: str(value)[:60])
def test_vendors_refusals_have_one_word_each(status: int | None, content: Any, outcome: Outcome) -> None:
    assert outcome_of(refusal_of(status, content)) is outcome


CASES: list[tuple[str, Reply, Outcome]] = [
    ("a page", fails(503, PAGE), Outcome.FAILED),
    ("a page with a good status", raw(PAGE.encode(), headers={"content-type": "text/html"}), Outcome.FAILED),
    ("JSON in the place of a stream", raw(b'{"choices": []}', headers={"content-type": "application/json"}), Outcome.FAILED),
    (
        "a refusal with a good status",
        raw(b'{"error": {"code": "insufficient_quota"}}', headers={"content-type": "application/json"}),
        Outcome.NO_QUOTA,
    ),
    ("truncated JSON", raw(b'data: {"choices": [{"del\n\n'), Outcome.FAILED),
    ("garbage", raw(b"\xff\xfe\x00 \n\n data data: []\n\ndata: 7\n\n"), Outcome.FAILED),
    ("deep nesting", raw(b"data: " + b"[" * 200_000 + b"\n\n"), Outcome.FAILED),
    ("nothing", raw(b""), Outcome.CUT_OFF),
    ("an end without a word", raw(b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'), Outcome.CUT_OFF),
    ("a broken connection", says("a", "b", "c", cut_after=2), Outcome.CUT_OFF),
    ("no text", says(), Outcome.EMPTY),
    ("white space", says(" \n", "\n"), Outcome.EMPTY),
    ("only thoughts", says("<think>hm", finish="length"), Outcome.EMPTY),
    ("the filter", says("half", finish="content_filter"), Outcome.REJECTED),
    ("the provider's trouble", says("half", finish="error"), Outcome.FAILED),
    ("an error event", says("a", "b", error_after=(2, {"message": "The server is overloaded", "code": "server_error"})), Outcome.FAILED),
    ("a quota that ends", says("a", "b", error_after=(2, {"message": "gone", "code": "insufficient_quota"})), Outcome.NO_QUOTA),
    ("a redirection", redirects("http://127.0.0.1:9/v1/chat/completions"), Outcome.FAILED),
]


@pytest.mark.parametrize(("reply", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_whatever_a_provider_does_a_call_ends_in_one_word(
    wires: Wires, provider: ScriptedProvider, reply: Reply, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    provider.answer(reply)
    found = await heard(wires, target_at(provider))
    assert found.failed is not None
    assert found.failed.outcome is outcome
    assert "<" not in found.failed.said


@pytest.mark.parametrize("wire", WIRES)
async def test_an_error_event_after_tokens_is_a_failure_and_nothing_is_asked_again(
    wires: Wires, provider: ScriptedProvider, wire: str
) -> None:
    provider.answer(says("a", "b", error_after=(5, {"type": "overloaded_error", "message": "Overloaded"})))
    if wire in ("chat", "gemini"):
        provider.answer(says("a", "b", error_after=(2, {"type": "overloaded_error", "message": "Overloaded"})))
    if wire == "responses":
        provider.answer(says("a", "b", error_after=(2, {"code": "server_error", "message": "Overloaded"})))
    found = await heard(wires, target_at(provider, wire))
    assert found.failed is not None
    assert (found.failed.outcome, found.failed.said) == (Outcome.FAILED, "Overloaded")
    assert found.text.startswith("a")
    assert len(provider.calls) == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stream_that_breaks_off_is_no_answer(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    provider.answer(says(*"abcdefgh", cut_after=5))
    found = await heard(wires, target_at(provider, wire))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.CUT_OFF
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    "after",
    [b"data: {", b"data: []\n\n", b'data: {"error": {"message": "gone", "code": "server_error"}}\n\n', b"data: " + b"x" * (9 << 20)],
    ids=["cut", "none", "error", "huge"],
)
async def test_what_comes_after_a_whole_answer_does_not_undo_it(wires: Wires, provider: ScriptedProvider, after: bytes) -> None:
    whole = b'data: {"choices": [{"index": 0, "delta": {"content": "all of it"}, "finish_reason": "stop"}]}\n\n'
    provider.answer(raw(whole + after + b"\n\n"))
    found = await heard(wires, target_at(provider))
    assert (found.text, found.finished.reason) == ("all of it", "stop")


async def test_an_answer_of_which_only_the_end_is_missing_is_one(wires: Wires, provider: ScriptedProvider) -> None:
    provider.answer(says("a", "b", cut_after=4))  # usage and [DONE] do not come
    found = await heard(wires, target_at(provider))
    assert (found.text, found.finished.usage) == ("ab", (None, None))


async def test_silence_is_a_timeout(provider: ScriptedProvider) -> None:
    for reply in (stalls(), stalls(after_head=True)):
        provider.answer(reply)
        chosen: dict[str, Any] = {"model_hosts": (provider.host,), "model_idle_seconds": 0.2}
        async with make_client(Settings(**chosen)) as client:
            found = await heard(Wires(client, Settings(**chosen)), target_at(provider))
        assert found.failed is not None
        assert found.failed.outcome is Outcome.TIMEOUT
        assert found.failed.retry_after is None
    assert len(provider.calls) == 2  # nobody asks again after that long


async def test_the_whole_call_is_bounded_however_busy_the_provider_is(wires: Wires, provider: ScriptedProvider) -> None:
    provider.answer(never_ends(pause=0.01))
    found = await heard(wires, target_at(provider, params={"timeout": 300}))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.TIMEOUT
    assert found.text
    assert "timeout" not in provider.calls[0].body
    await provider.disconnected()


async def test_a_provider_whose_event_does_not_end_is_given_up_when_the_time_of_the_call_is_over(provider: ScriptedProvider) -> None:
    async def drips(asked: Asked, line: Line) -> None:
        await line.head(200, CHUNKED)
        while True:
            await line.chunk(b"x")
            await asyncio.sleep(0.01)

    chosen: dict[str, Any] = {"model_hosts": (provider.host,), "model_idle_seconds": 0.1}
    async with asyncio.timeout(10), make_client(Settings(**chosen)) as client:
        wires = Wires(client, Settings(**chosen))
        provider.answer(says("one"))
        assert (await heard(wires, target_at(provider))).text == "one"  # the library is imported now: that takes long, too
        provider.answer(drips)
        found = await heard(wires, target_at(provider, params={"timeout": 400}))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.TIMEOUT


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_past_its_bound_is_not_read_further(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    provider.answer(never_ends("again " * 2_000))
    found = await heard(wires, target_at(provider, wire))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.TOO_LARGE
    assert len(found.text) <= wires_module.MAX_TEXT + 12_000
    await provider.disconnected()


async def test_one_event_past_its_bound_is_not_read_further(
    wires: Wires, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "MAX_EVENT_BYTES", 10_000)
    provider.answer(raw(b"data: " + b"x" * 50_000, ends=False))
    found = await heard(wires, target_at(provider))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.TOO_LARGE


async def test_nobody_there_is_unreachable(wires: Wires, provider: ScriptedProvider, settings: Settings) -> None:
    chosen: dict[str, Any] = {"model_hosts": ("127.0.0.1:1",)}
    async with make_client(Settings(**chosen)) as client:
        found = await heard(Wires(client, Settings(**chosen), chance=lambda: -1.0), target_at(provider, base_url="http://127.0.0.1:1/v1"))
    assert found.failed is not None
    assert found.failed.outcome is Outcome.UNREACHABLE


async def test_a_connection_that_is_not_made_is_tried_twice_more(
    settings: Settings, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    tried = []

    async def resolve(host: str, port: int) -> list[Address]:
        tried.append(host)
        raise OSError("nobody knows it")

    async with make_client(settings, resolve=resolve) as client:
        found = await heard(Wires(client, settings), target_at(provider, base_url="https://api.example.com/v1"))
    assert found.failed is not None
    assert (found.failed.outcome, tried) == (Outcome.UNREACHABLE, ["api.example.com"] * 3)


@pytest.mark.parametrize("wire", WIRES)
async def test_an_address_that_is_not_asked_says_so(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    for address in ("https://169.254.169.254", "https://localhost"):
        found = await heard(wires, target_at(provider, wire, base_url=address))
        assert found.failed is not None
        assert found.failed.outcome is Outcome.REFUSED_ADDRESS
    assert provider.asked == []


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_provider_that_stumbles_is_asked_twice_more_at_most(
    wires: Wires, provider: ScriptedProvider, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    provider.then(fails(status), fails(status))
    assert (await heard(wires, target_at(provider))).text == "Hello world"
    provider.then(fails(status), fails(status), fails(status))
    assert (await heard(wires, target_at(provider))).failed is not None
    assert len(provider.calls) == 6


@pytest.mark.parametrize(("chance", "waits"), [(0.0, [0.25, 0.5]), (0.5, [0.375, 0.75]), (1.0, [0.5, 1.0])])
async def test_between_attempts_it_waits_longer_each_time_and_half_of_that_by_chance(
    settings: Settings, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, chance: float, waits: list[float]
) -> None:
    waited, sleep = [], asyncio.sleep

    async def sleeps(seconds: float) -> None:
        if seconds:
            waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleeps)
    provider.then(fails(503), fails(503))
    async with make_client(settings) as client:
        assert (await heard(Wires(client, settings, chance=lambda: chance), target_at(provider))).text == "Hello world"
    assert waited == waits


async def test_a_short_wait_that_a_provider_asks_for_is_waited_and_a_long_one_told(
    wires: Wires, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    provider.then(fails(429, retry_after=0))
    assert (await heard(wires, target_at(provider))).text == "Hello world"
    provider.then(fails(429, retry_after=40))
    found = await heard(wires, target_at(provider))
    assert found.failed is not None
    assert (found.failed.outcome, found.failed.retry_after) == (Outcome.RATE_LIMITED, 40)
    provider.then(fails(429))  # nothing is said: who knows when
    assert (await heard(wires, target_at(provider))).failed is not None
    assert len(provider.calls) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_asking_again_does_not_mend_is_asked_once(wires: Wires, provider: ScriptedProvider, status: int) -> None:
    provider.answer(fails(status))
    await heard(wires, target_at(provider))
    assert len(provider.calls) == 1


async def test_a_server_that_minds_being_asked_for_the_usage_is_asked_without(wires: Wires, provider: ScriptedProvider) -> None:
    provider.then(fails(422, {"error": {"message": "stream_options: Extra inputs are not permitted"}}))
    found = await heard(wires, target_at(provider, "custom"))
    assert found.finished.usage == (None, None)
    assert ["stream_options" in asked.body for asked in provider.calls] == [True, False]


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
    assert retry_after("30", now) == 30
    assert retry_after("Thu, 26 Nov 2026 12:01:00 GMT", now) == 60
    assert retry_after("Thu, 26 Nov 2026 11:00:00 GMT", now) == 0
    assert retry_after("99999999999999", now) == 24 * 3600
    for nothing in (None, "", "soon", "-1", "1.5", "Thu, 99 Nov", "Thu, 26 Nov 2026 12:01:00"):
        assert retry_after(nothing, now) is None


HEADER = "gw/secret value+ü"[:-1]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_provider_that_echoes_the_key_shows_nothing_of_it(
    wires: Wires, provider: ScriptedProvider, wire: str, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 53 of the attacks on secrets."""
    monkeypatch.setattr(wires_module, "BACKOFF_SECONDS", 0.001)
    provider.answer(echoes(status))
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as logged:
        found = await heard(wires, target_at(provider, wire, secret=ModelSecret(KEY, {"X-Gateway": HEADER})))
    assert found.failed is not None
    shown = json.dumps([found.failed.said, str(found.failed), repr(found.failed), repr(found.failed.__cause__), logged, caplog.text])
    for secret in (KEY, HEADER):
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), secret[:9], secret[-9:]):
            assert form not in shown
    assert found.failed.said.startswith("Incorrect API key provided: ***")
    assert len(found.failed.said) <= 300


@pytest.mark.parametrize("wire", ["chat", "anthropic", "gemini"])
async def test_a_provider_that_gives_the_key_for_its_reason_to_end_shows_nothing_of_it(
    wires: Wires, provider: ScriptedProvider, wire: str
) -> None:
    for reason, shown in ((KEY, "***"), (f"ended for {HEADER}", "ended for ***"), ("tool_calls", "tool_calls"), ("stop", "stop")):
        provider.then(says("text", finish=reason))
        found = await heard(wires, target_at(provider, wire, secret=ModelSecret(KEY, {"X-Gateway": HEADER, "X-Word": "stop"})))
        assert found.finished.reason == shown


async def test_a_stream_that_never_ends_after_its_last_event_is_left(wires: Wires, provider: ScriptedProvider) -> None:
    data = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    provider.answer(raw(data, headers=CHUNKED, ends=False))
    assert (await heard(wires, target_at(provider))).text == "a"
    await provider.disconnected()
