"""Calling models on each wire, through the vendors' own libraries: what is sent, what comes back, and when it ends."""

import asyncio
from contextlib import aclosing

import pytest

from auth.model_secret import ModelSecret
from server.ai.calls import Finished, Token, Usage
from server.ai.providers import PROVIDERS
from server.ai.wires import Wires
from server.outgoing.addresses import checked_base_url
from tests.support.calling import ASKED, KEY, WIRES, call_of, heard, target_at
from tests.support.scripted_provider import Asked, Line, ScriptedProvider, never_ends, raw, says, stalls


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_comes_piece_by_piece_with_what_the_model_thought_and_used(
    wires: Wires, provider: ScriptedProvider, wire: str
) -> None:
    provider.answer(says("# 角色", " 😀\n", "done", reasoning=["let me", " see"], usage=(11, 7)))
    found = await heard(wires, target_at(provider, wire))
    assert found.finished == Finished("stop", Usage(11, 7))
    assert [piece.text for piece in found.pieces if isinstance(piece, Token)] == ["# 角色", " 😀\n", "done"]
    assert found.reasoning == "let me see"


@pytest.mark.parametrize("wire", WIRES)
async def test_the_provider_is_sent_the_messages_the_key_and_nothing_about_us(
    wires: Wires, provider: ScriptedProvider, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Leaked: leaked")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/leaked")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/leaked")
    secret = ModelSecret(KEY, {"X-Gateway": "gw-secret-value"})
    await heard(wires, target_at(provider, wire, secret=secret, params={"temperature": 0.2, "made_up": {"a": [1]}}))
    [asked] = provider.calls
    assert asked.key == KEY
    assert asked.headers["x-gateway"] == "gw-secret-value"
    allowed = {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "x-gateway", "connection"}
    allowed |= {"x-api-key", "anthropic-version"} if wire == "anthropic" else {"authorization"}
    assert set(asked.headers) <= allowed
    assert "leaked" not in str(asked)
    assert "python" not in str(asked.headers).lower()
    assert asked.body["temperature"] == 0.2
    assert asked.body["made_up"] == {"a": [1]}
    assert asked.body["stream"] is True
    said = asked.body["input" if wire == "responses" else "messages"]
    if wire == "anthropic":
        assert asked.body["system"] == ASKED[0].content
        assert asked.body["max_tokens"] == 8192
    else:
        assert said[0] == {"role": "system", "content": ASKED[0].content}
    assert said[-1] == {"role": "user", "content": ASKED[1].content}
    expected = {"model", "stream", "temperature", "made_up", "messages", "input", "system", "max_tokens", "stream_options"}
    assert set(asked.body) <= expected  # only what was set


DOCUMENTED = {
    "openai": "https://api.openai.com/v1/chat/completions",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
    "deepseek": "https://api.deepseek.com/chat/completions",
    "dashscope": "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
    "siliconflow": "https://api.siliconflow.cn/v1/chat/completions",
    "zhipu": "https://open.bigmodel.cn/api/paas/v4/chat/completions",
    "minimax": "https://api.minimax.io/v1/chat/completions",
    "openrouter": "https://openrouter.ai/api/v1/chat/completions",
    "modelscope": "https://api-inference.modelscope.cn/v1/chat/completions",
    "ollama": "http://localhost:11434/v1/chat/completions",
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/0123abc/ai/v1/chat/completions",
    "custom": "https://gateway.example.com/v1/chat/completions",
    "openai-compatible": "https://gateway.example.com/v1/chat/completions",
}
"""Where each vendor's documentation says that a call goes."""
GIVEN = {
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/0123abc/ai/v1",
    "custom": "https://gateway.example.com/v1",
    "openai-compatible": "https://gateway.example.com/v1",
}
"""Addresses that configurations have to say."""


@pytest.mark.parametrize("name", PROVIDERS)
async def test_every_provider_of_the_catalogue_is_asked_where_its_documentation_says(
    wires: Wires, provider: ScriptedProvider, name: str
) -> None:
    base = PROVIDERS[name].base_url or GIVEN[name]
    asked_at = checked_base_url(base, allowed=["localhost:11434"])
    path = asked_at.url.removeprefix(asked_at.origin)
    found = await heard(wires, target_at(provider, name, base_url=provider.url + path))
    assert found.text == "Hello world"
    [asked] = provider.calls
    assert asked_at.origin + asked.path == DOCUMENTED[name]
    expected = ("x-api-key", KEY) if name == "anthropic" else ("authorization", f"Bearer {KEY}")
    assert expected in asked.headers.items()


@pytest.mark.parametrize("path", ["", "/v1beta", "/v1beta/openai"])
async def test_gemini_is_asked_by_the_compatible_wire_also_at_the_address_that_apps_know(
    wires: Wires, provider: ScriptedProvider, path: str
) -> None:
    target = target_at(provider, "gemini", base_url=provider.url + path)
    assert (await heard(wires, target)).text == "Hello world"
    await wires.list_models(target)
    assert [asked.path for asked in provider.asked] == ["/v1beta/openai/chat/completions", "/v1beta/openai/models"]


async def test_parameters_by_the_names_that_gemini_s_own_wire_has_are_sent_by_those_of_this_one(
    wires: Wires, provider: ScriptedProvider
) -> None:
    own = {"topP": 0.9, "maxOutputTokens": 100, "candidateCount": 1, "stopSequences": ["x"], "thinkingBudget": 800, "includeThoughts": True}
    await heard(wires, target_at(provider, "gemini", params=own | {"temperature": 0.2, "max_tokens": 50, "made_up": 1}))
    [asked] = provider.calls
    set_by = {name: value for name, value in asked.body.items() if name not in ("model", "stream", "messages", "stream_options")}
    thinking = {"thinking_budget": 800, "include_thoughts": True}
    assert set_by == {
        **{"top_p": 0.9, "max_tokens": 50, "n": 1, "stop": ["x"], "temperature": 0.2, "made_up": 1},
        "extra_body": {"google": {"thinking_config": thinking}},
    }


@pytest.mark.parametrize("wire", WIRES)
async def test_without_a_key_no_authorization_is_sent(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    found = await heard(wires, target_at(provider, wire, secret=ModelSecret()))
    assert found.text == "Hello world"
    assert not {"authorization", "x-api-key"} & set(provider.calls[0].headers)


@pytest.mark.parametrize("wire", WIRES)
async def test_what_a_configuration_says_of_headers_wins_however_it_is_written(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    own = {"Content-Type": "application/json; charset=utf-8", "ACCEPT": "text/event-stream", "User-agent": "gateway"}
    await heard(wires, target_at(provider, wire, secret=ModelSecret(KEY, own | {"Content-Length": "1", "Host": "elsewhere"})))
    [asked] = provider.calls
    assert {name: asked.headers[name.lower()] for name in own} == own
    assert asked.headers["host"] == provider.host


@pytest.mark.parametrize("wire", WIRES)
async def test_the_end_is_told_once_and_before_the_connection_is_free(
    wires: Wires, provider: ScriptedProvider, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.ai.wires.LAST_SECONDS", 60.0)
    told = asyncio.Event()

    async def held(asked: Asked, line: Line) -> None:
        chunk = line.chunk

        async def late(data: bytes) -> None:
            if not data:  # the last one
                await told.wait()
            await chunk(data)

        monkeypatch.setattr(line, "chunk", late)
        await says("Hello")(asked, line)

    provider.answer(held)
    ends = 0
    async with aclosing(wires.stream(call_of(target_at(provider, wire)))) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                ends += 1
                told.set()
    assert ends == 1
    assert (await heard(wires, target_at(provider, wire))).text == "Hello"
    assert provider.accepted == 1


@pytest.mark.parametrize("ends", [True, False])
async def test_nothing_that_comes_after_the_end_is_told(wires: Wires, provider: ScriptedProvider, ends: bool) -> None:
    events = ['{"choices": [{"delta": {"content": "hi"}}]}', "[DONE]", '{"error": {"message": "late"}}', "nonsense", "[DONE]"]
    provider.answer(raw("".join(f"data: {event}\n\n" for event in events).encode(), ends=ends))
    assert (await heard(wires, target_at(provider))).pieces == [Token("hi"), Finished("stop", Usage())]


@pytest.mark.parametrize("wire", WIRES)
async def test_closing_the_stream_hangs_up_on_the_provider(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    provider.answer(never_ends())
    async with aclosing(wires.stream(call_of(target_at(provider, wire)))) as pieces:
        async for _ in pieces:
            break
    await provider.disconnected()


@pytest.mark.parametrize("after_head", [True, False])
async def test_a_caller_that_is_cancelled_hangs_up_on_the_provider(wires: Wires, provider: ScriptedProvider, after_head: bool) -> None:
    provider.answer(stalls(after_head=after_head))
    calling = asyncio.create_task(heard(wires, target_at(provider)))
    await provider.until(lambda: len(provider.calls) == 1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await provider.disconnected()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_connection_whose_answer_was_read_is_used_again(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    for _ in range(3):
        assert (await heard(wires, target_at(provider, wire))).text == "Hello world"
    assert provider.accepted == 1
