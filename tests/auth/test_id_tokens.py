"""ID tokens: whatever is wrong with one, it is refused, and for the right reason."""

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import ProviderUnavailable, SocialRefused
from auth.id_tokens import MAX_CHARACTERS, MAX_KEYS, Expected, UnknownKey, read_keys, verify
from tests.support.issuer import ANDROID_ID, CLIENT_ID, SUBJECT, Issuer, jwk, key, sign

OTHER_APP = "other-app.apps.googleusercontent.com"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = Issuer(url="https://accounts.google.com", clock=NOW.timestamp)


def expected(nonce: str | None = None, max_age: timedelta | None = None) -> Expected:
    issuers = {"https://accounts.google.com", "accounts.google.com"}
    return Expected(issuers=issuers, client_ids={CLIENT_ID, ANDROID_ID}, nonce=nonce, max_age=max_age)


def claims_of(token: str, nonce: str | None = None, *, now: datetime = NOW, max_age: timedelta | None = None) -> dict[str, Any]:
    return dict(verify(token, read_keys({"keys": [jwk("a"), jwk("b")]}), expected(nonce, max_age), now=now))


def refusal(token: str, nonce: str | None = None, **options: Any) -> str:
    with pytest.raises(SocialRefused) as caught:
        claims_of(token, nonce, **options)
    return caught.value.reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iss": "accounts.google.com"},
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, ANDROID_ID]},
        {"azp": ANDROID_ID},
        {"azp": None},
        {"nbf": SECONDS},
    ],
)
def test_a_good_token_says_who_it_is(changes: dict[str, Any]) -> None:
    assert claims_of(ISSUER.token(**changes))["sub"] == SUBJECT


def test_either_of_two_keys_is_believed() -> None:
    assert claims_of(ISSUER.token({"kid": "b"}, by="b"))["sub"] == SUBJECT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://accounts.google.com.evil.example"}, "issuer"),
        ({"iss": "https://accounts.google.co"}, "issuer"),
        ({"iss": "http://accounts.google.com"}, "issuer"),
        ({"iss": ["https://accounts.google.com"]}, "issuer"),
        ({"iss": {}}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": OTHER_APP}, "audience"),
        ({"aud": [CLIENT_ID, OTHER_APP]}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": [[CLIENT_ID]]}, "audience"),
        ({"aud": {CLIENT_ID: 1}}, "audience"),
        ({"aud": None}, "audience"),
        ({"azp": OTHER_APP}, "authorized party"),
        ({"azp": [CLIENT_ID]}, "authorized party"),
        ({"aud": [CLIENT_ID, ANDROID_ID], "azp": None}, "authorized party"),
        ({"exp": SECONDS - 31}, "expired"),
        ({"exp": str(SECONDS + 60)}, "times"),
        ({"exp": SECONDS + 60.5}, "times"),
        ({"exp": True}, "times"),
        ({"exp": 10**30}, "times"),
        ({"exp": -1}, "times"),
        ({"exp": [SECONDS]}, "times"),
        ({"exp": None}, "times"),
        ({"iat": None}, "times"),
        ({"iat": SECONDS + 60}, "not yet valid"),
        ({"nbf": SECONDS + 60}, "not yet valid"),
        ({"nbf": "0"}, "times"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 107}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"sub": "nul\0"}, "subject"),
        ({"nonce": "uncalled for"}, "nonce"),
    ],
)
def test_a_claim_that_is_not_what_it_should_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    assert refusal(ISSUER.token(**changes)) == reason


def test_clocks_may_differ_by_half_a_minute() -> None:
    assert claims_of(ISSUER.token(exp=SECONDS - 29))
    assert claims_of(ISSUER.token(iat=SECONDS + 29, nbf=SECONDS + 29))


def test_a_proof_is_not_older_than_it_may_be() -> None:
    old = ISSUER.token(iat=SECONDS - 600, exp=SECONDS + 600)
    assert claims_of(old)
    assert refusal(old, max_age=timedelta(minutes=5)) == "too old"
    assert claims_of(ISSUER.token(iat=SECONDS - 299), max_age=timedelta(minutes=5))


@pytest.mark.parametrize(
    ("header", "by"),
    [
        ({"alg": "none"}, "none"),
        ({"alg": "None"}, "none"),
        ({"alg": "nOnE"}, "none"),
        ({}, "none"),
        ({"alg": "HS256"}, "public"),
        ({"alg": "RS512"}, "a"),
        ({"alg": "PS256"}, "a"),
        ({"alg": ["RS256"]}, "a"),
        ({"alg": None}, "a"),
        ({"jwk": jwk("rogue")}, "rogue"),
        ({"jku": "http://127.0.0.1:9/keys"}, "a"),
        ({"x5u": "http://127.0.0.1:9/keys"}, "a"),
        ({"x5c": ["MIIB"]}, "a"),
        ({"crit": ["x"], "x": 1}, "a"),
        ({"b64": False, "crit": ["b64"]}, "a"),
        ({"zip": "DEF"}, "a"),
        ({}, "rogue"),
        ({"kid": "b"}, "a"),
        ({"kid": None}, "a"),
        ({"kid": 1}, "a"),
        ({"kid": ["a"]}, "a"),
    ],
)
def test_a_token_that_our_keys_have_not_signed_is_refused(header: dict[str, Any], by: str) -> None:
    assert refusal(ISSUER.token(header, by=by))


@pytest.mark.parametrize("kid", ["c", "", "../a", "a\0", "x" * 5000])
def test_a_key_that_is_not_in_the_set_is_unknown(kid: str) -> None:
    with pytest.raises(UnknownKey):
        claims_of(ISSUER.token({"kid": kid}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: "",
        lambda token: ".",
        lambda token: "..",
        lambda token: token[:-4],
        lambda token: token.rpartition(".")[0],
        lambda token: token + "." + token,
        lambda token: token.replace(".", "..", 1),
        lambda token: token + "é",
        lambda token: token + "A" * MAX_CHARACTERS,
        lambda token: sign({"x": [0]}).rpartition(".")[0] + "." + token.rpartition(".")[2],
    ],
)
def test_what_is_no_token_is_refused(damage: Callable[[str], str]) -> None:
    assert refusal(damage(ISSUER.token()))


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_token_with_any_other_byte_is_refused(at: int, change: int) -> None:
    token = _GOOD.encode()
    at %= len(token)
    other = token[:at] + bytes(((token[at] ^ change) & 0x7F,)) + token[at + 1 :]
    try:
        claims = claims_of(other.decode())
    except (SocialRefused, UnknownKey):
        return
    # unused bits at the end of a part, or no change at all
    assert claims == claims_of(_GOOD)


_GOOD = ISSUER.token()


@given(st.text(max_size=300))
def test_any_text_is_refused(text: str) -> None:
    assert refusal(text)


def test_a_deeply_nested_token_is_refused() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    assert refusal(f"{nested}.{nested}.{nested}")
    header = ISSUER.token().partition(".")[0]
    assert refusal(f"{header}.{nested}.{nested}")


def test_the_nonce_is_the_one_that_was_given_or_its_hash() -> None:
    nonce = "n-0S6_WzA2Mj"
    hashed = hashlib.sha256(nonce.encode()).hexdigest()
    assert claims_of(ISSUER.token(nonce=nonce), nonce)
    assert claims_of(ISSUER.token(nonce=hashed), nonce)
    for said in (None, "", "other", hashed.upper(), [nonce], 1):
        assert refusal(ISSUER.token(nonce=said), nonce) == "nonce"
    assert refusal(ISSUER.token(nonce=nonce), hashed) == "nonce"
    assert refusal(ISSUER.token(nonce=nonce), None) == "nonce"


@pytest.mark.parametrize(
    "keys",
    [
        None,
        {},
        [],
        "keys",
        [1, None, "key"],
        [jwk("a", kty="EC")],
        [jwk("a", use="enc")],
        [jwk("a", alg="RS512")],
        [jwk("a", kid=None)],
        [jwk("a", n="!")],
        [jwk("a", e="AA")],
        [{"kty": "RSA", "kid": "a"}],
        [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}],
        [{"kid": "x"}] * MAX_KEYS + [jwk("a")],
    ],
)
def test_a_key_set_without_a_key_for_us_is_none(keys: object) -> None:
    with pytest.raises(ProviderUnavailable):
        read_keys({"keys": keys})


def test_a_key_that_is_too_short_is_passed_over() -> None:
    short = key("short", 1024).public_key().public_numbers()
    text = base64.urlsafe_b64encode(short.n.to_bytes(128, "big")).rstrip(b"=").decode()
    assert set(read_keys({"keys": [jwk("a"), jwk("a", kid="short", n=text)]})) == {"a"}


def test_refusing_takes_no_time_to_speak_of() -> None:
    long = "x." * 500_000
    began = time.perf_counter()
    assert refusal(long)
    assert time.perf_counter() - began < 0.05
