"""The code flow against an issuer that answers as it likes: what is asked, and what becomes of every answer."""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from auth import outbound, social
from auth.errors import ProviderUnavailable, SocialRefused
from auth.openid import Endpoints
from auth.social import Client
from auth.social_states import Begun
from tests.support.issuer import TOKENS, Issuer, response, running_issuer

SECRET = "GOCSPX-a-secret"  # nobody's
CODE = "4/0AQSTgQF-a-code"
CLIENT = Client(id="web.example", secret=SECRET, redirect_uri="https://sync.example/callback")
BEGUN = Begun(state="5" * 64, cookie="c" * 64, nonce="n" * 43, code_verifier="v" * 43)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


def endpoints(issuer: Issuer) -> Endpoints:
    return Endpoints(authorization=f"{issuer.url}/auth?hl=en", token=issuer.url + TOKENS, keys=f"{issuer.url}/keys", says_issuer=True)


async def exchange(issuer: Issuer) -> str:
    return await social.exchange(CLIENT, endpoints(issuer), code=CODE, code_verifier=BEGUN.code_verifier)


async def test_the_page_is_asked_with_a_challenge_and_never_with_a_secret(issuer: Issuer) -> None:
    page = social.page(CLIENT, endpoints(issuer), BEGUN)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(page).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(BEGUN.code_verifier.encode()).digest()).rstrip(b"=").decode()
    assert asked == {
        "hl": "en",
        "response_type": "code",
        "client_id": "web.example",
        "redirect_uri": "https://sync.example/callback",
        "scope": "openid email profile",
        "state": BEGUN.state,
        "nonce": BEGUN.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "prompt": "select_account",
    }
    for secret in (SECRET, BEGUN.cookie, BEGUN.code_verifier):
        assert secret not in page
        assert secret not in f"{CLIENT}{BEGUN}"


async def test_a_code_is_exchanged_by_a_form_and_its_secret_is_in_no_address(issuer: Issuer) -> None:
    issuer.answers[TOKENS] = {"access_token": "a", "id_token": "a.b.c", "token_type": "Bearer", "expires_in": 3599}
    assert await exchange(issuer) == "a.b.c"
    assert issuer.asked == {TOKENS: 1}
    form = {name: value for name, (value,) in parse_qs(issuer.bodies[0]).items()}
    assert form == {
        "grant_type": "authorization_code",
        "code": CODE,
        "client_id": "web.example",
        "client_secret": SECRET,
        "redirect_uri": "https://sync.example/callback",
        "code_verifier": BEGUN.code_verifier,
    }


@pytest.mark.parametrize("error", ["invalid_grant", "access_denied"])
async def test_a_code_that_the_provider_refuses_is_refused(issuer: Issuer, error: str) -> None:
    said = json.dumps({"error": error, "error_description": "Bad Request"}).encode()
    issuer.answers[TOKENS] = response(said, "400 Bad Request")
    with pytest.raises(SocialRefused):
        await exchange(issuer)


@pytest.mark.parametrize(
    "answer",
    [
        response(b'{"error": "invalid_client"}', "401 Unauthorized"),
        response(b'{"error": "redirect_uri_mismatch"}', "400 Bad Request"),
        response(b'{"error": ["invalid_grant"]}', "400 Bad Request"),
        response(b'{"access_token": "a", "token_type": "Bearer"}'),
        response(b'{"access_token": "a", "id_token": 1}'),
        response(b'{"access_token": "a", "id_token": null, "expires_in": "soon"}'),
        response(b'{"access_token": "a", "id_token": "a.b.c", "expires_in": [1]}'),
        response(b"{}"),
        response(b"[]"),
        response(b"null"),
        response(b"<html>", "502 Bad Gateway"),
        response(b"", "302 Found", location="/elsewhere"),
        response(b"", "307 Temporary Redirect", location="/elsewhere"),
        response(b'{"id_token": "' + b"x" * outbound.MAX_ANSWER_BYTES + b'"}'),
        response(b'{"id_token": "a.b.c"}')[:-3],
        response(b"[" * 200_000),
        b"",
    ],
)
async def test_any_other_answer_is_the_providers_trouble_and_tells_nothing(issuer: Issuer, answer: bytes) -> None:
    issuer.answers[TOKENS] = answer
    with pytest.raises(ProviderUnavailable) as caught:
        await exchange(issuer)
    for secret in (SECRET, CODE, BEGUN.code_verifier, issuer.url):
        assert secret not in str(caught.value)
    assert issuer.asked["/elsewhere"] == 0


async def test_a_silent_provider_is_not_waited_for(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.2)
    issuer.silent = True
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        await exchange(issuer)
    assert time.monotonic() - began < 5
