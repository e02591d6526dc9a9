"""An SMTP server on loopback, in the test's own loop, that takes mails, or does not as a test says."""

import asyncio
import datetime as dt
import email
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Mailbox:
    """What the server was given, and what it answers: each of `answers` once, then that it takes the mail."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    recipients_answer: str | None = None
    taken: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    signed_in: list[tuple[bytes, bytes]] = field(default_factory=list)
    tried: int = 0
    hanging: bool = False
    cutting: bool = False
    """Whether the mail is taken, and nothing is answered."""

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        self.tried += 1
        if self.recipients_answer is not None:
            return self.recipients_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self.raw.append(content)
        self.taken.append(message)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        if self.hanging:
            await asyncio.Event().wait()
        if self.cutting:
            _abort(server)
        return "250 taken"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.signed_in.append((data.login, data.password))
        return AuthResult(success=data.password == b"smtp p@ss/word", handled=False)


@asynccontextmanager
async def smtp_server(
    *, tls: ssl.SSLContext | None = None, from_the_start: bool = False, auth_required: bool = False, offers_starttls: bool = True
) -> AsyncIterator[Mailbox]:
    """A server; with `tls` it offers STARTTLS, or is encrypted from the start."""
    mailbox, open_ones = Mailbox(), []

    def protocol() -> SMTP:
        made = SMTP(
            mailbox,
            hostname="127.0.0.1",
            timeout=20,
            tls_context=tls if offers_starttls and not from_the_start else None,
            require_starttls=False,
            authenticator=mailbox.authenticate,
            auth_required=auth_required,
            auth_require_tls=not from_the_start,
            loop=asyncio.get_running_loop(),
        )
        open_ones.append(made)
        return made

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls if from_the_start else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        for each in open_ones:
            _abort(each)
        serving = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") == SMTP._handle_client.__qualname__]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)  # otherwise they end when the collector finds them, in whatever runs then


def _abort(server: SMTP) -> None:
    if isinstance(server.transport, asyncio.WriteTransport):
        server.transport.abort()


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that vouches for itself."""

    path: Path
    server: ssl.SSLContext
    client: ssl.SSLContext


def self_signed(folder: Path) -> Certificate:
    """Make one, its files in this folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return Certificate(path, server, ssl.create_default_context(cafile=str(path)))
