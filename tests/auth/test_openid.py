"""A provider over a real socket: its documents may be late, huge, damaged or somebody else's."""

import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx2
import pytest

from auth import outbound
from auth.cached_documents import FAILED_SECONDS, NEWER_SECONDS
from auth.errors import ProviderUnavailable, SocialRefused
from auth.openid import OpenIdProvider
from tests.support.issuer import CLIENT_ID, DISCOVERY, KEYS, SUBJECT, Issuer, jwk, response, running_issuer


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


class Asking:
    """A provider and a clock of its own for what it keeps."""

    def __init__(self, issuer: Issuer) -> None:
        self.now = 0.0
        self.provider = OpenIdProvider(issuer.url, clock=lambda: self.now)

    async def subject(self, token: str) -> str:
        return str((await self.provider.verify(token, client_ids={CLIENT_ID}, nonce=None, now=datetime.now(UTC)))["sub"])


async def test_its_documents_are_fetched_once(issuer: Issuer) -> None:
    asking = Asking(issuer)
    for _ in range(5):
        assert await asking.subject(issuer.token()) == SUBJECT
    assert issuer.asked == {DISCOVERY: 1, KEYS: 1}


async def test_a_key_that_is_new_is_looked_for_and_one_that_is_invented_is_not_looked_for_again(issuer: Issuer) -> None:
    asking = Asking(issuer)
    assert await asking.subject(issuer.token()) == SUBJECT
    issuer.keys = [jwk("b"), jwk("a")]
    asking.now += NEWER_SECONDS
    assert await asking.subject(issuer.token({"kid": "b"}, by="b")) == SUBJECT
    assert await asking.subject(issuer.token()) == SUBJECT  # the older key is published still
    for number in range(20):
        with pytest.raises(SocialRefused):
            await asking.subject(issuer.token({"kid": f"invented-{number}"}))
    assert issuer.asked[KEYS] == 2


async def test_a_key_that_is_withdrawn_is_not_believed_any_more(issuer: Issuer) -> None:
    asking = Asking(issuer)
    await asking.subject(issuer.token())
    issuer.keys = [jwk("b")]
    asking.now += 300
    with pytest.raises(SocialRefused):
        await asking.subject(issuer.token())


def huge(url: str) -> bytes:
    return response(json.dumps({"keys": [jwk("a")], "pad": "x" * outbound.MAX_ANSWER_BYTES}).encode())


def squeezed(url: str) -> bytes:
    return response(gzip.compress(b'{"keys": []}' + b" " * (50 << 20)), content_encoding="gzip")


TROUBLE: dict[str, Callable[[str], bytes]] = {
    "huge": huge,
    "endless": lambda url: b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * (4 << 20),
    "squeezed": squeezed,
    "elsewhere": lambda url: response(b"", "302 Found", location=f"{url}/other"),
    "failing": lambda url: response(json.dumps({"keys": [jwk("a")]}).encode(), "500 Internal Server Error"),
    "no JSON": lambda url: response(b"<html>"),
    "nested": lambda url: response(b"[" * 200_000),
    "a list": lambda url: response(b"[]"),
    "not UTF-8": lambda url: response(b'{"keys": "\xff"}'),
    "cut off": lambda url: response(b'{"keys": []}')[:-4],
    "no HTTP": lambda url: b"220 smtp.example ESMTP\r\n",
    "nothing": lambda url: b"",
}


@pytest.mark.parametrize("path", [KEYS, DISCOVERY])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_what_is_no_document_is_not_used_and_what_was_there_before_is(issuer: Issuer, path: str, trouble: str) -> None:
    issuer.answers["/other"] = {"keys": [jwk("a")]} | issuer.discovery()
    asking, fresh = Asking(issuer), Asking(issuer)
    await asking.subject(issuer.token())
    issuer.answers[path] = TROUBLE[trouble](issuer.url)
    asking.now += 3600
    assert await asking.subject(issuer.token()) == SUBJECT
    with pytest.raises(ProviderUnavailable) as caught:
        await fresh.subject(issuer.token())
    assert issuer.url not in str(caught.value)
    assert issuer.asked["/other"] == 0
    del issuer.answers[path]
    fresh.now += FAILED_SECONDS
    assert await fresh.subject(issuer.token()) == SUBJECT


async def test_who_says_nothing_is_not_waited_for(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.2)
    issuer.silent = True
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        await Asking(issuer).subject(issuer.token())
    assert time.monotonic() - began < 5


async def test_who_is_not_there_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable):
        await Asking(Issuer(url="http://127.0.0.1:1")).provider.endpoints()


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://accounts.google.com"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": ["https://x"]},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_a_discovery_document_of_another_or_with_no_addresses_is_none(issuer: Issuer, change: dict[str, object]) -> None:
    issuer.answers[DISCOVERY] = issuer.discovery() | change
    with pytest.raises(ProviderUnavailable):
        await Asking(issuer).provider.endpoints()


def test_an_issuer_with_https_has_no_plain_addresses() -> None:
    provider = OpenIdProvider("https://issuer.example", clock=lambda: 0.0)
    good = {name: f"https://issuer.example/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    assert provider._read_discovery({"issuer": "https://issuer.example"} | good).keys == good["jwks_uri"]
    for name in good:
        with pytest.raises(ProviderUnavailable):
            provider._read_discovery({"issuer": "https://issuer.example"} | good | {name: f"http://issuer.example/{name}"})


async def test_the_environment_leads_no_question_astray(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    assert await Asking(issuer).subject(issuer.token()) == SUBJECT
    assert isinstance(outbound.BoundedTransport(), httpx2.AsyncBaseTransport)
