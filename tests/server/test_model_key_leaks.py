"""A key and header values are kept and used, and occur in nothing that leaves the server or lies in its database, in any spelling."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import httpx2
import pytest

from server.ai.results import Result
from server.intents.exporting import Format
from storage.cluster_account import find_binaries
from tests.support.audited import audit_text, logged
from tests.support.database import Databases
from tests.support.doors import doors
from tests.support.library_replica import LibraryReplica
from tests.support.running import Running, User, running_server
from tests.support.scripted_provider import ScriptedProvider, echoes, fails, raw, redirects, says, scripted_provider
from tests.support.server import ROOT, Server

KEY, ROTATED = "sk-Can/ary+7f3d9b?e51c0&8a64=d2-KEY1", "sk-Can/ary+1b8e4c?a07f5&3d92=e6-KEY2"
HEADER, ROTATED_HEADER = 'canary "header" 5c1f=\\8e/2d+HDR1', 'canary "header" 9a4b=\\6f/0c+HDR2'
CANARIES = (KEY, ROTATED, HEADER, ROTATED_HEADER)
METRICS_TOKEN = "token-of-the-metrics-0123456789abcdef"


def spellings(secret: str) -> Iterator[bytes]:
    """A secret as it may be written somewhere."""
    plain = secret.encode()
    yield plain
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(json.dumps(secret))[1:-1].encode()
    for safe in ("", "/", "/+="):
        yield quote(secret, safe=safe).encode()
    yield quote_plus(secret).encode()
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        yield secret.encode(encoding)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            # what stands before it decides the alignment: the characters that both share with their neighbours are left out
            yield encode(b"\0" * shift + plain)[4 if shift else 0 : -4]


def found(text: bytes, secrets: tuple[str, ...] = CANARIES) -> list[bytes]:
    """The spellings of the secrets that are in a text, in upper and lower case as they are and in hexadecimal letters of either."""
    return [spelling for secret in secrets for spelling in spellings(secret) if spelling in text]


@pytest.mark.parametrize("secret", CANARIES)
def test_the_sweep_would_find_a_secret_in_every_spelling(secret: str) -> None:
    plain = secret.encode()
    written = {
        "raw": plain,
        "json": json.dumps({"key": secret}).encode(),
        "json in json": json.dumps({"body": json.dumps({"key": secret})}).encode(),
        "url": b"?k=" + quote(secret, safe="").encode(),
        "form": b"k=" + quote_plus(secret).encode(),
        "hex": b"\\x" + (b"ab" + plain + b"c").hex().encode(),
        "utf-16": ("a" + secret).encode("utf-16"),
        **{f"base64 {shift}": base64.b64encode(b"x" * shift + plain + b"tail") for shift in range(3)},
        **{f"base64url {shift}": base64.urlsafe_b64encode(b"x" * shift + plain + b"tail") for shift in range(3)},
    }
    assert [name for name, text in written.items() if not found(b"... " + text + b" ...")] == []
    assert found(b"nothing of the kind") == []


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


async def dumped(dsn: str) -> bytes:
    """All that is in the database, as pg_dump writes it."""
    address = urlsplit(dsn)
    where = ["-h", parse_qs(address.query)["host"][0], "-p", "5432", "-U", address.username or "", address.path.removeprefix("/")]
    process = await asyncio.create_subprocess_exec(find_binaries() / "pg_dump", *where, stdout=-1)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


class Sweep:
    """Keeps whatever is answered."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.seen: list[bytes] = []

    async def ask(self, method: str, path: str, json: object = None, **options: object) -> httpx2.Response:
        answer = await self._client.request(method, path, json=json, **options)  # type: ignore[arg-type]  # what httpx2 takes
        self.seen.append(repr(answer.headers).encode() + answer.content)
        return answer


async def use_the_key(sweep: Sweep, provider: ScriptedProvider) -> None:
    """Everything that is done with configurations and their keys, and what goes wrong with them."""
    path = "/api/models/config/canary"
    headers = {"X-Gateway": HEADER}
    config = {"provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1", "api_key": KEY, "extra_headers": headers}
    assert (await sweep.ask("PUT", path, config)).status_code == 201
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}. {HEADER}", "code": "invalid_api_key"}}).encode()
    provider.then(raw(echo, status=401, headers={"content-type": "application/json"}), fails(500), fails(429, retry_after=1))
    for _ in range(4):
        assert (await sweep.ask("POST", f"{path}/validate")).status_code == 200
    provider.keys = {KEY}
    assert (await sweep.ask("POST", f"{path}/rotate", {"api_key": ROTATED})).status_code == 409
    provider.keys = None
    rotated = await sweep.ask("POST", f"{path}/rotate", {"api_key": ROTATED, "extra_headers": {"X-Gateway": ROTATED_HEADER}})
    assert rotated.status_code == 200, rotated.text
    for body in (
        {"api_key": KEY + "\r\n"},
        {"api_key": KEY + "é"},
        {"api_key": [KEY]},
        {"api_key": {"k": KEY}},
        {"extra_headers": {HEADER: KEY}},
        {"extra_headers": {"X-A": HEADER + "\n"}},
        {"extra_headers": {"Host": HEADER}},
        {"extra_headers": [HEADER]},
        {"parameters": {"api_key": KEY}},
        {"capabilities": {"headers": {"x": HEADER}}},
        {"enabled": KEY},
        {"provider": KEY},
        {"base_url": f"https://{quote(KEY, safe='')}@api.example.com"},
        {"base_url": f"https://api.example.com/?k={KEY}"},
        {KEY: HEADER},
        KEY,
        [KEY],
    ):
        assert (await sweep.ask("PUT", path, body)).status_code == 422
    assert (await sweep.ask("PUT", path, {"base_url": "https://api.example.com"})).status_code == 409
    broken = await sweep.ask("PUT", path, None, content=b'{"api_key": "' + KEY.encode(), headers={"Content-Type": "application/json"})
    assert broken.status_code == 400


async def improve_prompts(sweep: Sweep, provider: ScriptedProvider) -> None:
    """Prompts that models improve, and what goes wrong with that: whole, as a stream, and once more under the same Idempotency-Key."""
    config = {"provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1", "api_key": KEY}
    assert (await sweep.ask("PUT", "/api/models/config/canary", config | {"extra_headers": {"X-Gateway": HEADER}})).is_success
    prompt = (await sweep.ask("POST", "/api/prompts", {"title": "p", "original_text": "write a report"})).json()["id"]
    cut_off = raw(b"data: " + json.dumps({"error": {"message": f"{KEY} {HEADER}"}}).encode() + b"\n\n", ends=True)
    replies = (
        says("better"),
        echoes(401),
        echoes(404),
        echoes(500),
        cut_off,
        fails(429, retry_after=9),
        redirects("https://x.example/"),
    )

    async def improve(path: str, streamed: bool, number: int) -> None:
        body = {"model_config_id": "canary", "stream": streamed} | ({"text": "t"} if path == "/api/optimize" else {})
        again = {"Idempotency-Key": f"{path}-{streamed}-{number}"}
        answers = [await sweep.ask("POST", path, body, headers=again) for _ in "ab"]
        assert (answers[0].is_success and b"event: error" not in answers[0].content) == (number == 0), answers[0].text

    for number, reply in enumerate(replies):
        provider.answer(reply)
        # at once, for a call that fails pauses before it is tried again
        await asyncio.gather(
            *(
                improve(path, streamed, number)
                for path in ("/api/optimize", f"/api/prompts/{prompt}/optimize")
                for streamed in (False, True)
            )
        )
    provider.answer(says("ok"))
    for provider.listing in (echoes(401), echoes(500), None):
        await sweep.ask("GET", "/api/models?config=canary")
    assert (await sweep.ask("GET", "/api/models?config=canary")).json()["live"]
    assert (await sweep.ask("GET", "/api/usage?by=day,model")).json()["rows"]


async def read_everything(sweep: Sweep, user: User) -> None:
    """Every operation that takes a GET, of what there is, and each form of export."""
    document = (await sweep.ask("GET", "/openapi.json")).json()
    prompt = (await sweep.ask("GET", "/api/prompts")).json()["prompts"][0]["id"]
    ids = {
        "prompt_id": prompt,
        "version": "1",
        "config_id": "canary",
        "category_id": "cat-writing",
        "template_id": (await sweep.ask("POST", "/api/templates", {"name": "t"})).json()["id"],
        "code": (await sweep.ask("POST", f"/api/prompts/{prompt}/share", {})).json()["code"],
        "library_id": str(user.library_id),
        "user_id": str(user.id),
    }
    for door in doors(document):
        if door.method == "GET":
            answer = await sweep.ask("GET", door.target(ids))
            assert answer.is_success or not door.names, (str(door), answer.text)
    for form in Format:
        assert (await sweep.ask("GET", f"/api/export?format={form.value}")).is_success
    metrics = await sweep.ask("GET", "/metrics", None, headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert "promptsync_model_calls_total" in metrics.text


async def test_a_key_occurs_in_no_answer_log_dump_document_or_update(
    databases: Databases, template_database: str, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = databases.create(template_database)
    with logged() as log:
        async with running_server(dsn, model_hosts=(provider.host,), metrics_token=METRICS_TOKEN) as server:
            user = await server.user()
            await server.execute("UPDATE users SET role = 'admin' WHERE id = $1", user.id)
            async with server.http(user) as client:
                sweep = Sweep(client)
                await improve_prompts(sweep, provider)
                await sweep.ask("DELETE", "/api/models/config/canary")
                await use_the_key(sweep, provider)
                await force_failures(sweep, server, monkeypatch)
                await read_everything(sweep, user)
                opened = await server.services.vault.open(user.id, "canary", provider.url)
                assert (opened.api_key, opened.headers) == (ROTATED, {"X-Gateway": ROTATED_HEADER}), "it is kept, and was looked for"
            updates = b"".join(update for _, update in await server.log(user.library_id))
            document = await state_of(server, user)
            audit = (await audit_text(server.services.database)).encode()
            seen_by_provider = repr(provider.asked).encode()
        dump = await dumped(dsn)
    databases.drop(dsn)
    assert found(seen_by_provider), "the provider did get it"
    places = {
        "answers": b"\n".join(sweep.seen),
        "log": log.text.encode(),
        "dump": dump,
        "updates": updates,
        "document": document,
        "audit": audit,
    }
    assert all(places.values())
    assert {place: hits for place, text in places.items() if (hits := found(text))} == {}


async def force_failures(sweep: Sweep, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours while a key is in hand: it is logged with its traceback, and the key is not in it."""

    async def breaks(*args: object, **kwargs: object) -> None:
        raise RuntimeError("made to fail")

    with monkeypatch.context() as patched:
        patched.setattr(type(server.services.vault), "change", breaks)
        answer = await sweep.ask("PUT", "/api/models/config/canary", {"api_key": KEY, "extra_headers": {"X-Gateway": HEADER}})
        assert answer.status_code == 500
    with monkeypatch.context() as patched:
        patched.setattr(type(server.services.models), "check", breaks)
        for path, body in (("validate", None), ("rotate", {"api_key": KEY})):
            assert (await sweep.ask("POST", f"/api/models/config/canary/{path}", body)).status_code == 500
    with monkeypatch.context() as patched:
        patched.setattr(Result, "take", lambda *args: [][0])  # amid an answer
        for streamed in (False, True):
            answer = await sweep.ask("POST", "/api/optimize", {"text": "t", "model_config_id": "canary", "stream": streamed})
            assert answer.status_code == 500, answer.text


async def state_of(server: Running, user: User) -> bytes:
    """The document as a device gets it."""
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await device.until(lambda: any(each.id == "canary" for each in replica.view.models()))
    return replica.library.content()


async def test_a_key_occurs_in_nothing_that_a_server_of_its_own_prints(provider: ScriptedProvider) -> None:
    """A server as operators run it, with its own log of JSON lines, whatever the vendors' libraries are asked to log."""
    told = {name: "debug" for name in ("OPENAI_LOG", "ANTHROPIC_LOG")}
    settings = {"PUBLIC_URL": "https://sync.example.com", "SMTP_URL": "smtp://localhost", "MAIL_FROM": "no-reply@example.com"}
    settings |= {
        "ENV": "production",
        "REGISTRATION": "open",
        "ALLOWED_HOSTS": "127.0.0.1",
        "LOG_LEVEL": "debug",
        "MODEL_HOSTS": provider.host,
    }
    server = Server(env=told | {f"PROMPTSYNC_{name}": value for name, value in settings.items()}, fresh=True)
    try:
        make_keys = (sys.executable, "-m", "server.cli", "keys", "create")
        await asyncio.to_thread(subprocess.run, make_keys, env=server.environment(), cwd=ROOT, check=True, capture_output=True)
        await asyncio.to_thread(server.start)
        token = (await asyncio.to_thread(server.register)).access_token
        async with httpx2.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            await improve_prompts(sweep := Sweep(client), provider)
            provider.then(redirects(f"https://x.example/?k={KEY}"))
            assert (await sweep.ask("POST", "/api/optimize", {"text": "t", "model_config_id": "canary"})).status_code == 502
            await sweep.ask("DELETE", "/api/models/config/canary")
            await use_the_key(sweep, provider)
        await asyncio.to_thread(server.terminate)
        printed = server.log_file.read_bytes()
    finally:
        await asyncio.to_thread(server.cleanup)
    assert {json.loads(line)["event"] for line in printed.splitlines() if line.startswith(b"{")} >= {"request"}
    assert found(printed) == []
    assert found(b"\n".join(sweep.seen)) == []
