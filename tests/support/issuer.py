"""An OpenID issuer on loopback that makes any token and any answer: for what no real provider would do."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID = "web-client.apps.googleusercontent.com"
ANDROID_ID = "android-client.apps.googleusercontent.com"
DISCOVERY, KEYS, TOKENS = "/.well-known/openid-configuration", "/keys", "/token"
SUBJECT = "107691503500061507151"


@cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of this name, the same each time."""
    return rsa.generate_private_key(65537, bits)


def jwk(name: str, **changes: Any) -> dict[str, Any]:
    """The public half of it, as key sets have it."""
    numbers = key(name).public_key().public_numbers()
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "n": _number(numbers.n), "e": _number(numbers.e)} | changes


def sign(claims: Mapping[str, Any], header: Mapping[str, Any] | None = None, *, by: str = "a") -> str:
    """A token with exactly these claims, signed by this key: also "none", or "public" for an HMAC with the public key."""
    protected = {"alg": "RS256", "typ": "JWT", "kid": "a"} | dict(header or {})
    signed = f"{_text(json.dumps(protected).encode())}.{_text(json.dumps(claims).encode())}"
    match by:
        case "none":
            signature = b""
        case "public":
            pem = key("a").public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            signature = hmac.digest(pem, signed.encode(), hashlib.sha256)
        case _:
            signature = key(by).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_text(signature)}"


@dataclass
class Issuer:
    """A running issuer. `answers` are what it says in place of its own at a path: bytes for the socket, or a body for JSON."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk("a")])
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bytes | Mapping[str, Any]] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[str] = field(default_factory=list)
    silent: bool = False
    """Whether it takes questions and says nothing."""

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of somebody with a mailbox of Google's; a change to None leaves one out."""
        now = int(self.clock())
        usual = {
            "iss": self.url,
            "azp": CLIENT_ID,
            "aud": CLIENT_ID,
            "sub": SUBJECT,
            "email": "alice@gmail.com",
            "email_verified": True,
            "name": "Alice Example",
            "iat": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(self, header: Mapping[str, Any] | None = None, *, by: str = "a", **changes: Any) -> str:
        """A token of that somebody's."""
        return sign(self.claims(**changes), header, by=by)

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": self.url + TOKENS,
            "jwks_uri": self.url + KEYS,
            "authorization_response_iss_parameter_supported": True,
        }

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split()[1].decode()
            self.asked[path] += 1
            if (found := re.search(rb"content-length: (\d+)", request, re.IGNORECASE)) is not None:
                self.bodies.append((await reader.readexactly(int(found[1]))).decode())
            if self.silent:
                await reader.read()
            said = self.answers.get(path, {DISCOVERY: self.discovery(), KEYS: {"keys": self.keys}}.get(path, {}))
            writer.write(said if isinstance(said, bytes) else response(json.dumps(said).encode(), **self.headers))
            await writer.drain()
        writer.close()


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; underscores in names stand for hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{lines}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """An issuer that listens."""
    issuer = Issuer()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield issuer
    finally:
        server.close()
        await server.wait_closed()


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
