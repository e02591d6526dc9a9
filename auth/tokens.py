"""Access and sync tokens: Ed25519 JWTs that name a session, and that say nothing about it being alive.

Both kinds have an audience and a `typ` of their own (RFC 8725, 3.11 and 3.12), so neither passes for the other. The session's row
is asked each time; a token alone only saves the search.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from auth.errors import ExpiredToken, InvalidToken

MAX_TOKEN_BYTES = 2048
"""Ours are about 450 bytes; nothing longer is parsed at all."""
VERIFIED_TOKENS = 4096
"""Tokens whose signature is not checked again: what was signed stays signed, and checking takes a third of a small request. About 6 MB;
past it the longest unused are checked anew. Their times are looked at each time."""
LEEWAY_SECONDS = 10
"""How far the clocks of two of our processes may differ."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
"""RFC 7515, 7.1, with a signature of 64 bytes and no spare bits. pyjwt passes over what is no base64, so one would have many spellings."""
_ALGORITHM = "EdDSA"
_CLAIMS = ["iss", "aud", "sub", "sid", "gen", "iat", "nbf", "exp", "jti"]
_HEADER = frozenset({"alg", "typ", "kid"})
_MAX_JTI = 64
_MAX_TIME = 1 << 40


class Audience(StrEnum):
    """What a token is for."""

    ACCESS = "promptsync:access"
    """REST, and opening a socket."""
    SYNC = "promptsync:sync"
    """Opening a socket only, for as long as the session lasts."""


_TYPES = {Audience.ACCESS: "at+jwt", Audience.SYNC: "sync+jwt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token of ours says: whose it is, of which session, and of which generation of its refresh token."""

    audience: Audience
    user_id: UUID
    session_id: UUID
    generation: int
    expires_at: datetime


class _Signed(NamedTuple):
    """What one of our keys has signed: what verifying needs of it each time."""

    claims: Claims
    kind: object
    issued: int
    begins: int
    ends: int


class Tokens:
    """Signs with the first of its keys and believes all of them, so that keys can be exchanged one after the other."""

    def __init__(self, keys: Sequence[tuple[str, bytes]], *, issuer: str, random: Callable[[int], bytes]) -> None:
        if not keys:
            raise ValueError("a signing key is needed")
        private = {key_id: Ed25519PrivateKey.from_private_bytes(seed) for key_id, seed in keys}
        self._key_id = keys[0][0]
        self._signer = private[self._key_id]
        self._verifiers: dict[str, Ed25519PublicKey] = {key_id: key.public_key() for key_id, key in private.items()}
        self._issuer = issuer
        self._random = random
        self._opened = lru_cache(VERIFIED_TOKENS)(self._open)  # what raises is not kept

    def access(self, *, user_id: UUID, session_id: UUID, generation: int, now: datetime, expires_at: datetime) -> str:
        """A token for REST and sockets that ends at `expires_at`."""
        return self._sign(Audience.ACCESS, user_id, session_id, generation, now, expires_at)

    def sync(self, *, user_id: UUID, session_id: UUID, generation: int, now: datetime, expires_at: datetime) -> str:
        """A token that opens sockets and nothing else, given for the whole life of the session."""
        return self._sign(Audience.SYNC, user_id, session_id, generation, now, expires_at)

    def verify(self, token: str, audiences: Collection[Audience], *, now: datetime) -> Claims:
        """What the token says, if it is ours, for one of `audiences`, and its time has come and is not over.

        Raises:
            ExpiredToken: it was, but its time is over.
            InvalidToken: anything else is wrong with it.
        """
        signed = self._opened(token)
        audience = signed.claims.audience
        if audience not in audiences or signed.kind != _TYPES[audience]:
            raise InvalidToken("another audience")
        seconds = now.timestamp()
        if max(signed.issued, signed.begins) > seconds + LEEWAY_SECONDS:
            raise InvalidToken("not yet valid")
        if signed.ends + LEEWAY_SECONDS <= seconds:
            raise ExpiredToken
        return signed.claims

    def _sign(self, audience: Audience, user_id: UUID, session_id: UUID, generation: int, now: datetime, expires_at: datetime) -> str:
        issued = int(now.timestamp())
        payload = {
            "iss": self._issuer,
            "aud": audience.value,
            "sub": str(user_id),
            "sid": str(session_id),
            "gen": generation,
            "iat": issued,
            "nbf": issued,
            "exp": int(expires_at.timestamp()),
            "jti": self._random(16).hex(),
        }
        return jwt.encode(payload, self._signer, algorithm=_ALGORITHM, headers={"typ": _TYPES[audience], "kid": self._key_id})

    def _open(self, token: str) -> _Signed:
        if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
            raise InvalidToken("too long or not in compact form")
        try:
            header = jwt.get_unverified_header(token)
            if set(header) - _HEADER or header.get("alg") != _ALGORITHM:
                raise InvalidToken("header")
            key = self._verifiers.get(str(header.get("kid")))
            if key is None:
                raise InvalidToken("unknown key")
            payload = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                # Times and audience are ours to check: the clock is an argument here, and pyjwt would take its own.
                options={
                    "require": _CLAIMS,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                },
            )
        except InvalidToken:
            raise
        except Exception as error:
            # pyjwt reads JSON from outside before it checks anything; deep nesting, for one, raises RecursionError.
            raise InvalidToken(type(error).__name__) from error
        if payload["iss"] != self._issuer:
            raise InvalidToken("issuer")
        claims = _read(payload)
        return _Signed(claims, header.get("typ"), payload["iat"], payload["nbf"], payload["exp"])


def _read(payload: Mapping[str, Any]) -> Claims:
    match payload:
        case {
            "aud": str(aud),
            "sub": str(sub),
            "sid": str(sid),
            "gen": int(gen),
            "iat": int(iat),
            "nbf": int(nbf),
            "exp": int(exp),
            "jti": str(jti),
        }:
            pass
        case _:
            raise InvalidToken("kinds of claims")
    numbers = (gen, iat, nbf, exp)
    if any(isinstance(number, bool) or not 0 <= number <= _MAX_TIME for number in numbers) or not 0 < len(jti) <= _MAX_JTI:
        raise InvalidToken("bounds of claims")
    try:
        user_id, session_id, audience = UUID(sub), UUID(sid), Audience(aud)
        expires_at = datetime.fromtimestamp(exp, UTC)
    except ValueError as error:
        raise InvalidToken("ids, or past the last date") from error
    return Claims(audience=audience, user_id=user_id, session_id=session_id, generation=gen, expires_at=expires_at)
