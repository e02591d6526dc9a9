"""Access and sync tokens: ours pass, in their time and for their use; nothing else does, and nothing else is raised."""

import base64
import hmac
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import ExpiredToken, InvalidToken
from auth.tokens import MAX_TOKEN_BYTES, Audience, Tokens

NOW = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)
SEED = bytes(range(32))
USER, SESSION = UUID(int=1), UUID(int=2)
TOKENS = Tokens([("k1", SEED)], issuer="https://po.example", random=os.urandom)
BOTH = frozenset(Audience)


def access(tokens: Tokens = TOKENS, **changes: Any) -> str:
    return tokens.access(
        **{"user_id": USER, "session_id": SESSION, "generation": 3, "now": NOW, "expires_at": NOW + timedelta(minutes=10), **changes}
    )


TOKEN = access()


def forged(*, seed: bytes = SEED, header: dict[str, Any] | None = None, drop: str | None = None, **claims: Any) -> str:
    """A token with a good signature and whatever else a holder of the key would put into it."""
    now = int(NOW.timestamp())
    payload: dict[str, Any] = {
        "iss": "https://po.example",
        "aud": "promptsync:access",
        "sub": str(USER),
        "sid": str(SESSION),
        "gen": 0,
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "x",
    }
    payload |= claims
    payload.pop(drop, None) if drop else None
    parts = [_encoded({"typ": "at+jwt", "kid": "k1", "alg": "EdDSA", **(header or {})}), _encoded(payload)]
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(".".join(parts).encode())
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def reason(token: str) -> str:
    with pytest.raises(InvalidToken) as refused:
        TOKENS.verify(token, {Audience.ACCESS}, now=NOW)
    return refused.value.reason


@given(st.uuids(), st.uuids(), st.integers(0, 2**40), st.integers(1, 3600))
def test_what_is_signed_is_read_again(user: UUID, session: UUID, generation: int, seconds: int) -> None:
    until = NOW + timedelta(seconds=seconds)
    token = TOKENS.access(user_id=user, session_id=session, generation=generation, now=NOW, expires_at=until)
    claims = TOKENS.verify(token, {Audience.ACCESS}, now=NOW)
    assert (claims.user_id, claims.session_id, claims.generation, claims.audience) == (user, session, generation, Audience.ACCESS)
    assert claims.expires_at == until.replace(microsecond=0)


def test_a_sync_token_opens_sockets_only_and_lasts_with_its_session() -> None:
    token = TOKENS.sync(user_id=USER, session_id=SESSION, generation=0, now=NOW, expires_at=NOW + timedelta(days=180))
    assert reason(token) == "another audience"
    for days in (0, 179):
        assert TOKENS.verify(token, BOTH, now=NOW + timedelta(days=days)).audience is Audience.SYNC
    with pytest.raises(ExpiredToken):
        TOKENS.verify(token, BOTH, now=NOW + timedelta(days=181))
    with pytest.raises(InvalidToken):
        TOKENS.verify(access(), {Audience.SYNC}, now=NOW)


def test_time_is_the_argument_and_the_leeway_is_short() -> None:
    token = access()
    assert TOKENS.verify(token, BOTH, now=NOW + timedelta(seconds=600))
    with pytest.raises(ExpiredToken):
        TOKENS.verify(token, BOTH, now=NOW + timedelta(seconds=611))
    assert TOKENS.verify(token, BOTH, now=NOW - timedelta(seconds=9))
    with pytest.raises(InvalidToken, match="not yet"):
        TOKENS.verify(token, BOTH, now=NOW - timedelta(seconds=31))


def test_keys_can_be_exchanged_one_after_the_other() -> None:
    other = os.urandom(32)
    both = Tokens([("k2", other), ("k1", SEED)], issuer="https://po.example", random=os.urandom)
    assert both.verify(access(), BOTH, now=NOW)
    assert jwt.get_unverified_header(access(both))["kid"] == "k2"
    assert reason(access(both)) == "unknown key"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "nOnE"},
        {"alg": "HS256"},
        {"alg": "eddsa"},
        {"kid": "k2"},
        {"kid": None},
        {"kid": ["k1"]},
        {"kid": "../../k1"},
        {"jwk": {"kty": "OKP"}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"crit": ["x"]},
        {"b64": False},
        {"zip": "DEF"},
        {"typ": "JWT"},
        {"typ": "sync+jwt"},
        {"typ": None},
    ],
)
def test_a_header_that_is_not_exactly_ours_is_refused(header: dict[str, Any]) -> None:
    assert reason(forged(header=header)) != "expired"
    assert TOKENS.verify(forged(), BOTH, now=NOW)


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "sid", "gen", "iat", "nbf", "exp", "jti"])
def test_every_claim_is_needed(claim: str) -> None:
    assert reason(forged(drop=claim))
    wrong: list[Any] = [None, [], {}, True, 1.5, "", "x" * 100]
    for value in wrong:
        changed: dict[str, Any] = {claim: value}
        assert reason(forged(**changed))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": float("nan")},
        {"exp": 1e99},
        {"exp": -1},
        {"exp": 2**70},
        {"exp": 2**40},
        {"exp": "1900000000"},
        {"exp": int(NOW.timestamp()) - 31},
        {"nbf": int(NOW.timestamp()) + 60},
        {"iat": int(NOW.timestamp()) + 600},
        {"gen": -1},
        {"iss": "https://po.example.evil"},
        {"iss": "https://po"},
        {"iss": ["https://po.example"]},
        {"aud": ["promptsync:access"]},
        {"aud": "promptsync"},
        {"aud": "promptsync:sync"},
        {"sub": "{" + str(USER) + "x"},
    ],
)
def test_claims_outside_their_bounds_are_refused(claims: dict[str, Any]) -> None:
    assert reason(forged(**claims))


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    payload = jwt.decode(access(), options={"verify_signature": False})
    for secret in (public.public_bytes(Encoding.Raw, PublicFormat.Raw), public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)):
        header, body = _encoded({"alg": "HS256", "typ": "at+jwt", "kid": "k1"}), _encoded(payload)
        signature = base64.urlsafe_b64encode(hmac.digest(secret, f"{header}.{body}".encode(), "sha256")).rstrip(b"=").decode()
        assert reason(f"{header}.{body}.{signature}")


def test_a_signature_by_another_key_is_refused() -> None:
    assert reason(forged(seed=os.urandom(32))) == "InvalidSignatureError"
    header, body, _ = access().split(".")
    assert reason(f"{header}.{body}.")
    other = TOKENS.access(user_id=uuid4(), session_id=SESSION, generation=0, now=NOW, expires_at=NOW + timedelta(minutes=1)).split(".")
    assert reason(f"{header}.{other[1]}.{access().split('.')[2]}")


def test_long_and_deep_tokens_are_refused_before_they_cost_anything() -> None:
    assert reason("x" * (MAX_TOKEN_BYTES + 1)) == "too long or not in compact form"
    assert reason("é") == "too long or not in compact form"
    deep, signature = base64.urlsafe_b64encode(b"[" * 1200).decode(), "A" * 86
    assert reason(f"{deep}.e30.{signature}") not in ("too long or not in compact form", "unknown key")
    assert reason(f"e30.{deep}.{signature}") == "header"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode() + ".e30.AA"))
def test_any_text_is_refused_by_the_documented_error(text: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.verify(text, BOTH, now=NOW)


@given(st.data())
def test_a_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_. ").filter(lambda character: character != TOKEN[at]))
    with pytest.raises(InvalidToken):
        TOKENS.verify(TOKEN[:at] + other + TOKEN[at + 1 :], BOTH, now=NOW)


def test_a_token_has_one_spelling() -> None:
    head, _, signature = access().rpartition(".")
    spare = signature[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"["AQgw".index(signature[-1]) * 16 + 1]
    for other in (spare, f"{signature}==", f"{signature}\n", f"!{signature}", f"{signature[:9]} {signature[9:]}", signature + "A"):
        assert reason(f"{head}.{other}") == "too long or not in compact form"
    assert TOKENS.verify(f"{head}.{signature}", BOTH, now=NOW)
