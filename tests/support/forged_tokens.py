"""Tokens with anything in them: signed with the server's own key, with none, or with what an attacker can know."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.running import SIGNING_KEY, User

HEADER = {"alg": "EdDSA", "typ": "at+jwt", "kid": SIGNING_KEY[0]}


def claims_of(user: User, **changes: Any) -> dict[str, Any]:
    """What the user's access token says now, with changes; None takes a claim out."""
    now = int(time())
    claims = {
        "iss": "promptsync",
        "aud": "promptsync:access",
        "sub": str(user.id),
        "sid": str(user.session_id),
        "gen": 0,
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": uuid4().hex,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the server's own key, unless another seed is given."""

    seed: bytes = field(default=SIGNING_KEY[1], repr=False)

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with a good signature."""
        text = _text(HEADER | header, claims)
        return f"{text}.{_encoded(Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode()))}"


def unsigned(claims: dict[str, Any], alg: str, signature: bytes = b"") -> str:
    """A token that says it needs no signature, or has another one."""
    return f"{_text(HEADER | {'alg': alg}, claims)}.{_encoded(signature)}"


def public_forms() -> dict[str, bytes]:
    """The server's public key in the forms that a confused verifier might take for a secret."""
    public = Ed25519PrivateKey.from_private_bytes(SIGNING_KEY[1]).public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "raw": raw,
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": json.dumps({"kty": "OKP", "crv": "Ed25519", "x": _encoded(raw)}).encode(),
        "base64": _encoded(raw).encode(),
    }


def by_hmac(claims: dict[str, Any], secret: bytes) -> str:
    """A token signed with HS256 and this secret."""
    text = _text(HEADER | {"alg": "HS256"}, claims)
    return f"{text}.{_encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def with_own_key(claims: dict[str, Any], seed: bytes) -> str:
    """A token that brings the key it was signed with."""
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(seed).sign(claims, jwk={"kty": "OKP", "crv": "Ed25519", "x": _encoded(raw)})


def nobody(user: User) -> dict[str, Any]:
    """Claims of a user and a session that are not there."""
    return claims_of(user, sub=str(UUID(int=5)), sid=str(UUID(int=6)))


def _text(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
