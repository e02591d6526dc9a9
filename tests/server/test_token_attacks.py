"""Tokens that are forged, foreign, stale or not for this: refused over REST and on both dialects of sockets, and never repeated."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from time import perf_counter, time
from typing import Any
from uuid import uuid4

import pytest
import structlog

from protocol.closes import Close
from protocol.messages import Hello
from tests.support.forged_tokens import Signer, by_hmac, claims_of, nobody, public_forms, unsigned, with_own_key
from tests.support.link_client import bare_link
from tests.support.raw_http import raw_request
from tests.support.rest import PASSWORD
from tests.support.running import RawSocket, Running, User

Make = Callable[[User], str]
OURS, THEIRS = Signer(), Signer(bytes(reversed(range(32))))
CANARY = "http://127.0.0.1:{port}/keys"


def signed(**changes: Any) -> Make:
    """Signed by the server's own key, with these claims changed."""
    return lambda user: OURS.sign(claims_of(user, **changes))


def timed(**seconds: int) -> Make:
    """Signed by the server's own key, with times so many seconds from when it is used."""
    return lambda user: OURS.sign(claims_of(user, **{name: int(time()) + offset for name, offset in seconds.items()}))


def headless(alg: str) -> Make:
    """Without a signature."""
    return lambda user: unsigned(claims_of(user), alg)


def hashed(secret: bytes) -> Make:
    """Signed with a secret that everybody can know."""
    return lambda user: by_hmac(claims_of(user), secret)


def headed(**header: Any) -> Make:
    """Signed by the server's own key, with more or other things in the header."""
    return lambda user: OURS.sign(claims_of(user), **header)


FORGED: dict[str, Make] = {
    # no signature, or one that anybody can make
    **{f"alg {alg}": headless(alg) for alg in ("none", "None", "nOnE", "NONE", "")},
    "alg none with a signature": lambda user: unsigned(claims_of(user), "none", b"x" * 64),
    "no signature": lambda user: user.access_token.rpartition(".")[0] + ".",
    "only two parts": lambda user: user.access_token.rpartition(".")[0],
    "four parts": lambda user: user.access_token + ".x",
    "another's signature": lambda user: ".".join([*OURS.sign(claims_of(user)).split(".")[:2], user.access_token.split(".")[2]]),
    "a signature of zeros": lambda user: unsigned(claims_of(user), "EdDSA", bytes(64)),
    **{f"HS256 by our public key, {name}": hashed(key) for name, key in public_forms().items()},
    "HS256 by nothing": lambda user: by_hmac(claims_of(user), b""),
    "a key of their own": lambda user: THEIRS.sign(claims_of(user)),
    # headers that say where the key is, or how to read it
    "their key in the header": lambda user: with_own_key(claims_of(user), bytes(reversed(range(32)))),
    "jku": headed(jku=CANARY),
    "x5u": headed(x5u=CANARY),
    "x5c": headed(x5c=["MIIB"]),
    "crit": headed(crit=["x"], x=1),
    "b64": headed(b64=False, crit=["b64"]),
    "zip": headed(zip="DEF"),
    "kid of a file": headed(kid="../../../../dev/null"),
    "kid of a query": headed(kid="s1' OR '1'='1"),
    "another kid": headed(kid="s2"),
    "typ of any JWT": headed(typ="JWT"),
    "typ of a sync token": headed(typ="sync+jwt"),
    # times
    "expired by 31 seconds": timed(exp=-31, iat=-631, nbf=-631),
    "not before a minute from now": timed(nbf=120),
    "made ten minutes from now": timed(iat=600),
    **{f"exp {value!r}": signed(exp=value) for value in ("1900000000", 1e99, -1, float("nan"), [4_000_000_000], True, 2**70)},
    "no exp": signed(exp=None),
    # not of here, or not for this
    **{
        f"aud {aud!r}": signed(aud=aud)
        for aud in ("promptsync:email", "promptsync", "", ["promptsync:access"], "client-id.apps.example.com")
    },
    **{
        f"iss {iss!r}": signed(iss=iss)
        for iss in ("promptsync.evil.example", "promptsyn", "prompt", "https://accounts.google.com", "", ["promptsync"])
    },
    "no iss": signed(iss=None),
    "the refresh token": lambda user: user.refresh_token,
    "the password": lambda user: PASSWORD,
    # whose it is
    "a session and user that are not there": lambda user: OURS.sign(nobody(user)),
    "another user's session": lambda user: OURS.sign(claims_of(user, sub=str(uuid4()))),
    "a session that is not there": lambda user: OURS.sign(claims_of(user, sid=str(uuid4()))),
    "no uuid": signed(sub="me"),
    # size and form
    "16 KB": lambda user: user.access_token + "x" * 16_000,
    "not ASCII": lambda user: user.access_token[:-3] + "\xe9\xe9\xe9",
    "padded": lambda user: user.access_token + "==",
    "with what is no base64": lambda user: user.access_token[:-5] + "!" + user.access_token[-5:],
    "with spare bits": lambda user: user.access_token[:-1] + chr(ord(user.access_token[-1]) + 1),
    "deep": lambda user: "e30." * 500,
}


pytestmark = pytest.mark.usefixtures("raw_sockets")


@pytest.fixture
async def canary() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A listener on loopback where keys could be fetched from, and what was asked there."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], asked


@pytest.mark.parametrize("what", FORGED)
async def test_a_token_that_is_not_right_opens_nothing(server: Running, user: User, canary: tuple[int, list[bytes]], what: str) -> None:
    port, asked = canary
    token = FORGED[what](user)
    if what in ("jku", "x5u"):
        token = OURS.sign(claims_of(user), **{what: CANARY.format(port=port)})
    with structlog.testing.capture_logs() as logged:
        answer = await raw_request(server, "GET", "/api/users/me", [("Authorization", f"Bearer {token}")])
        assert answer.status == 401
        assert answer.code in ("invalid_token", "token_expired", "session_ended", "not_authenticated")
        reasons = [await on_stock_dialect(server, user, token), await on_richer_dialect(server, token)]
    assert token not in str(logged) + answer.content.decode() + "".join(reasons)
    assert asked == []


async def on_stock_dialect(server: Running, user: User, token: str) -> str:
    """Try to open the user's own library; why it was refused."""
    raw = await RawSocket.connected(server.port)
    raw.send(
        f"GET /sync/{user.library_id} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: yjs\r\nAuthorization: Bearer {token}\r\n\r\n".encode("latin-1")
    )
    async with asyncio.timeout(10):
        head = await raw.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            assert head.split(b" ")[1] in (b"400", b"431"), head
            return (await raw.reader.read()).decode()
        opcode, payload = await raw.frame()
    raw.abort()
    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, Close.UNAUTHENTICATED)
    return payload[2:].decode()


async def on_richer_dialect(server: Running, token: str) -> str:
    """Try to say hello; why it was refused."""
    async with bare_link(server) as client:
        await client.send(Hello(token=token, client_name="x", client_version="1"))
        assert await client.close_code() in (Close.UNAUTHENTICATED, Close.TOO_LARGE, Close.MALFORMED)
        return client.connection.close_reason or ""


async def test_what_the_forger_changes_nothing_in_is_let_in(server: Running, user: User) -> None:
    """Else every refusal above might be for another reason."""
    token = OURS.sign(claims_of(user))
    assert (await raw_request(server, "GET", "/api/users/me", [("Authorization", f"Bearer {token}")])).status == 200
    async with bare_link(server) as client:
        assert (await client.hello(token)).user == user.id


async def test_an_access_token_refreshes_nothing(server: Running, user: User) -> None:
    async with server.http() as client:
        for token in (user.access_token, user.sync_token, user.access_token[:200], user.refresh_token + "x", user.refresh_token.swapcase()):
            answer = await client.post("/api/auth/refresh", json={"refresh_token": token})
            assert answer.status_code in (401, 422)
            assert token not in answer.text
        assert (await client.post("/api/auth/refresh", json={"refresh_token": user.refresh_token})).status_code == 200


async def test_a_token_of_a_megabyte_is_refused_at_once(server: Running, user: User) -> None:
    for size in (16 << 10, 1 << 20):
        began = perf_counter()
        try:
            answer = await raw_request(server, "GET", "/api/users/me", [("Authorization", f"Bearer {'x' * size}")])
            assert answer.status in (400, 401, 431)
        except (ConnectionError, IndexError):  # it was closed before all of it was sent
            pass
        assert perf_counter() - began < 2
    async with server.http(user) as client:
        assert (await client.get("/api/users/me")).status_code == 200


async def test_only_one_header_and_only_a_header_is_read(server: Running, user: User) -> None:
    token = user.access_token
    for target, headers in (
        ("/api/users/me", [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]),
        ("/api/users/me", [("Authorization", f"Bearer {token}, Bearer {token}")]),
        ("/api/users/me", [("Authorization", f"Bearer {token} {token}")]),
        ("/api/users/me", [("Authorization", f"Token {token}")]),
        ("/api/users/me", [("Authorization", token)]),
        ("/api/users/me", [("Proxy-Authorization", f"Bearer {token}")]),
        ("/api/users/me", [("X-Access-Token", token)]),
        ("/api/users/me", [("Cookie", f"access_token={token}; token={token}; __Host-promptsync_refresh={token}")]),
        (f"/api/users/me?access_token={token}", []),
        (f"/api/users/me?token={token}", []),
    ):
        answer = await raw_request(server, "GET", target, headers)
        assert answer.status == 401, (target[:30], headers)
    assert (await raw_request(server, "GET", "/api/users/me", [("authorization", f"bEaReR  {token}")])).status == 200


async def test_a_changed_byte_anywhere_is_refused(server: Running, user: User) -> None:
    token = user.access_token
    async with server.http() as client:
        for at in range(0, len(token), 7):
            changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
            if changed != token:
                answer = await client.get("/api/users/me", headers={"Authorization": f"Bearer {changed}"})
                assert answer.status_code == 401, at


async def test_headers_that_speak_for_others_are_not_believed(server: Running, user: User) -> None:
    """Who comes through no proxy of ours cannot say who or where they are."""
    names = ("X-User-Id", "X-Forwarded-User", "X-Remote-User", "X-Auth-Request-Email", "X-Real-IP", "X-Forwarded-For", "Forwarded")
    spoofed = [(name, value) for name in names for value in (str(user.id), "for=127.0.0.1")[: 1 if name != "Forwarded" else 2]]
    assert (await raw_request(server, "GET", "/api/users/me", spoofed)).status == 401
    headers = [("Authorization", f"Bearer {user.access_token}"), ("X-Original-URL", "/metrics"), ("X-Rewrite-URL", "/metrics")]
    answer = await raw_request(server, "GET", "/api/users/me", [*headers, *spoofed, ("X-Forwarded-Host", "evil.example")])
    assert answer.status == 200
    assert b"evil.example" not in answer.content
    deleted = await raw_request(server, "POST", "/api/users/me", [*headers, ("X-HTTP-Method-Override", "PATCH")], os.urandom(8))
    assert deleted.status == 405
