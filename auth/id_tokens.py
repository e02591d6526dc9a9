"""ID tokens of OpenID Connect: what is checked, in which order, before a word of them is believed (Core, 3.1.3.7; RFC 8725).

The clock is an argument, and every refusal is the same to the client; the reason is for the log and the audit.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.errors import ProviderUnavailable, SocialRefused

MAX_CHARACTERS = 8192
"""Of a token; Google's have about 1,200. Nothing longer is parsed at all."""
LEEWAY = timedelta(seconds=30)
"""How far the provider's clock and ours may differ."""
MIN_KEY_BITS, MAX_KEY_BITS = 2048, 8192
"""Shorter keys can be broken (RFC 7518, 3.3); longer ones cost more than a signature is worth."""
MAX_KEYS = 64
"""Of a key set; Google has two or three. The rest is not looked at."""
MAX_SUBJECT_CHARACTERS = 255

_ALGORITHM = "RS256"
# Keys come from where we look for them, never from the token; and what a token says is critical we would have to understand.
_REFUSED_IN_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"})
_MAX_TIME = 1 << 40

KeySet = Mapping[str, RSAPublicKey]
"""The provider's keys by their ids."""


class UnknownKey(Exception):
    """The token names a key that is not in the set: it may be new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token has to say: one of these issuers, our client ids only, and the nonce of this sign-in or none at all."""

    issuers: Collection[str]
    client_ids: Collection[str]
    nonce: str | None
    max_age: timedelta | None = None
    """How long ago the provider may have made it out; None: as long as it is good."""


def read_keys(document: Mapping[str, object]) -> KeySet:
    """The keys of a JSON Web Key Set that sign with RS256; others in it are passed over.

    Raises:
        ProviderUnavailable: there is not one.
    """
    listed = document.get("keys")
    found: dict[str, RSAPublicKey] = {}
    for key in listed[:MAX_KEYS] if isinstance(listed, list) else ():
        if isinstance(key, dict) and isinstance(kid := key.get("kid"), str) and (public := _public_key(key)) is not None:
            found[kid] = public
    if not found:
        raise ProviderUnavailable("no keys")
    return found


def _public_key(key: Mapping[str, Any]) -> RSAPublicKey | None:
    if key.get("kty") != "RSA" or key.get("use", "sig") != "sig" or key.get("alg", _ALGORITHM) != _ALGORITHM:
        return None
    try:
        public = jwt.PyJWK.from_dict({"kty": "RSA", "n": key["n"], "e": key["e"]}, _ALGORITHM).key
    except Exception:  # pyjwt and what lies below it raise many kinds for what is no key
        return None
    return public if isinstance(public, RSAPublicKey) and MIN_KEY_BITS <= public.key_size <= MAX_KEY_BITS else None


def verify(token: str, keys: KeySet, expected: Expected, *, now: datetime) -> Mapping[str, Any]:
    """The claims of a token that says what is expected.

    Raises:
        UnknownKey: its key is not in the set, so that nothing else was looked at.
        SocialRefused: anything else is wrong with it.
    """
    claims = _signed(token, keys)
    if not isinstance(issuer := claims.get("iss"), str) or issuer not in expected.issuers:
        raise SocialRefused("issuer")
    _check_audience(claims, expected.client_ids)
    _check_times(claims, now, expected.max_age)
    _check_nonce(claims.get("nonce"), expected.nonce)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise SocialRefused("subject")
    return claims


def _signed(token: str, keys: KeySet) -> dict[str, Any]:
    if len(token) > MAX_CHARACTERS or not token.isascii():
        raise SocialRefused("too long or not ASCII")
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if header.get("alg") != _ALGORITHM or not isinstance(kid, str) or _REFUSED_IN_HEADERS & set(header):
            raise SocialRefused("header")
        key = keys.get(kid)
        if key is None:
            raise UnknownKey
        # Only the signature: the clock is an argument here, and pyjwt would take its own.
        return jwt.decode(token, key, algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY)
    except (SocialRefused, UnknownKey):
        raise
    except Exception as error:
        # pyjwt reads JSON from outside before it checks anything; deep nesting, for one, raises RecursionError.
        raise SocialRefused(type(error).__name__) from error


_SIGNATURE_ONLY: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


def _check_audience(claims: Mapping[str, Any], ours: Collection[str]) -> None:
    """All audiences are ours, and so is whom it was made out to, if that is said (`azp`; where there are several it must be)."""
    audience, azp = claims.get("aud"), claims.get("azp")
    audiences = audience if isinstance(audience, list) else [audience]
    if not audiences or not all(isinstance(each, str) and each in ours for each in audiences):
        raise SocialRefused("audience")
    if (azp is None and len(audiences) > 1) or (azp is not None and not (isinstance(azp, str) and azp in ours)):
        raise SocialRefused("authorized party")


def _check_times(claims: Mapping[str, Any], now: datetime, max_age: timedelta | None) -> None:
    seconds, leeway = now.timestamp(), LEEWAY.total_seconds()
    expires, issued, begins = (_time(claims.get(name, default)) for name, default in (("exp", None), ("iat", None), ("nbf", 0)))
    if seconds >= expires + leeway:
        raise SocialRefused("expired")
    if max(issued, begins) > seconds + leeway:
        raise SocialRefused("not yet valid")
    if max_age is not None and seconds > issued + max_age.total_seconds() + leeway:
        raise SocialRefused("too old")


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        raise SocialRefused("times")
    return value


def _check_nonce(said: object, expected: str | None) -> None:
    """The nonce, or the SHA-256 of it in hex, which the providers' own libraries for phones send; none where none is expected."""
    if said is None and expected is None:
        return
    if not isinstance(said, str) or expected is None:
        raise SocialRefused("nonce")
    given, plain = said.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    hashed = hashlib.sha256(plain).hexdigest().encode()
    if not (hmac.compare_digest(given, plain) | hmac.compare_digest(given, hashed)):
        raise SocialRefused("nonce")
