"""Mails handed over to a real SMTP server on loopback, one that encrypts, asks for a password, refuses, hangs and cuts off."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
import structlog

from server import smtp_address
from server.config import load_settings
from server.mail import LogMailer, MailDelayed, MailRefused, SmtpMailer, compose, make_mailer
from server.smtp_address import Encryption
from tests.support.post import text_of
from tests.support.smtp import Certificate, Mailbox, self_signed, smtp_server

AT = datetime(2026, 11, 26, 8, 30, tzinfo=UTC)
PASSWORD = "smtp p@ss/word"
SIGNING_IN = "promptsync:smtp%20p%40ss%2Fword@"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("smtp"))


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp_server() as mailbox:
        yield mailbox


def mailer(
    mailbox: Mailbox, certificate: Certificate | None = None, *, user: str = "", scheme: str = "smtp", query: str = ""
) -> SmtpMailer:
    server = smtp_address.parse(f"{scheme}://{user}127.0.0.1:{mailbox.port}{query}")
    return SmtpMailer(server, sender="no-reply@server.example", tls=certificate.client if certificate else None, answer_seconds=1.0)


def message(
    recipient: str = "ada@example.com", text: str = "Hello 你好, a line\n\nhttps://app.example/#/verify?token=abc\n"
) -> EmailMessage:
    return compose(sender="Prompts 提示 <no-reply@server.example>", recipient=recipient, subject="Hello 你好", text=text, now=AT)


async def test_a_mail_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    await mailer(mailbox).send(message())

    (taken,) = mailbox.taken
    assert mailbox.recipients == ["ada@example.com"]
    assert text_of(taken) == "Hello 你好, a line\n\nhttps://app.example/#/verify?token=abc\n"
    assert (taken["Subject"], taken["To"]) == ("Hello 你好", "ada@example.com")
    assert taken["From"] == "Prompts 提示 <no-reply@server.example>"
    assert (taken["Date"].datetime, taken["Auto-Submitted"]) == (AT, "auto-generated")
    assert taken["Message-ID"].endswith("@server.example>")
    assert taken.get_content_type() == "text/plain"
    assert mailbox.raw[0].isascii() or b"8bit" in mailbox.raw[0]


async def test_two_mails_have_two_ids() -> None:
    assert message()["Message-ID"] != message()["Message-ID"]


@pytest.mark.parametrize("recipient", ["a@example.com\r\nBcc: b@example.org", "a@example.com\nX: y"])
async def test_an_address_begins_no_header_of_its_own(recipient: str) -> None:
    with pytest.raises(ValueError, match=r"newline|CR|linefeed"):
        message(recipient)


async def test_with_a_password_the_connection_is_encrypted_before_it_is_said(certificate: Certificate) -> None:
    async with smtp_server(tls=certificate.server, auth_required=True) as mailbox:
        await mailer(mailbox, certificate, user=SIGNING_IN).send(message())
    assert mailbox.signed_in == [(b"promptsync", PASSWORD.encode())]
    assert mailbox.encrypted == [True]


async def test_a_password_is_not_said_to_a_server_that_does_not_encrypt() -> None:
    async with smtp_server() as mailbox:
        with pytest.raises(MailDelayed) as refused:
            await mailer(mailbox, user=SIGNING_IN).send(message())
    assert (mailbox.signed_in, mailbox.tried) == ([], 0)
    assert PASSWORD not in str(refused.value)


async def test_a_server_that_nobody_vouches_for_gets_nothing(certificate: Certificate) -> None:
    async with smtp_server(tls=certificate.server, auth_required=True) as mailbox:
        with pytest.raises(MailDelayed):
            await mailer(mailbox, user=SIGNING_IN).send(message())
    assert (mailbox.signed_in, mailbox.tried) == ([], 0)


async def test_smtps_is_encrypted_from_the_start(certificate: Certificate) -> None:
    async with smtp_server(tls=certificate.server, from_the_start=True) as mailbox:
        await mailer(mailbox, certificate, user=SIGNING_IN, scheme="smtps").send(message())
    assert len(mailbox.taken) == len(mailbox.signed_in) == 1


async def test_without_a_password_it_is_encrypted_where_the_server_can(certificate: Certificate) -> None:
    async with smtp_server(tls=certificate.server) as mailbox:
        await mailer(mailbox, certificate).send(message())
        await mailer(mailbox, certificate, query="?starttls=never").send(message())
    assert mailbox.encrypted == [True, False]


async def test_the_systems_own_certificates_count(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    async with smtp_server(tls=certificate.server, auth_required=True) as mailbox:
        settings = load_settings(smtp_url=f"smtp://{SIGNING_IN}127.0.0.1:{mailbox.port}", mail_from="Prompts <no-reply@server.example>")
        await make_mailer(settings).send(message())
    assert mailbox.encrypted == [True]


async def test_a_wrong_password_is_the_operators_to_put_right_and_not_the_mails_end(certificate: Certificate) -> None:
    async with smtp_server(tls=certificate.server, auth_required=True) as mailbox:
        with pytest.raises(MailDelayed, match=r"^SMTPAuthenticationError 535$"):
            await mailer(mailbox, certificate, user="promptsync:other-secret@").send(message())


@pytest.mark.parametrize("code", [550, 554])
async def test_what_is_refused_for_good_is_told_apart(mailbox: Mailbox, code: int) -> None:
    mailbox.answers = [f"{code} no", f"{code - 100} later"]
    with pytest.raises(MailRefused) as refused:
        await mailer(mailbox).send(message())
    assert refused.value.code == code
    with pytest.raises(MailDelayed, match=f"^SMTPDataError {code - 100}$"):
        await mailer(mailbox).send(message())
    await mailer(mailbox).send(message())
    assert len(mailbox.taken) == 1


@pytest.mark.parametrize(("answer", "error"), [("550 ada@example.com is not here", MailRefused), ("452 full", MailDelayed)])
async def test_a_refused_recipient_is_not_repeated(mailbox: Mailbox, answer: str, error: type[Exception]) -> None:
    mailbox.recipients_answer = answer
    with pytest.raises(error) as refused:
        await mailer(mailbox).send(message())
    assert "ada" not in f"{refused.value!r}{refused.value.__cause__!r}"
    assert mailbox.taken == []


async def test_a_server_that_cuts_off_or_hangs_is_tried_later(mailbox: Mailbox) -> None:
    mailbox.cutting = True
    with pytest.raises(MailDelayed, match="SMTPServerDisconnected"):
        await mailer(mailbox).send(message())
    mailbox.cutting, mailbox.hanging = False, True
    async with asyncio.timeout(5):
        with pytest.raises(MailDelayed, match="Timeout"):
            await mailer(mailbox).send(message())


async def test_a_server_that_says_nothing_or_is_not_there_is_tried_later() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    mailbox = Mailbox(port=listening.sockets[0].getsockname()[1])
    async with asyncio.timeout(5):
        with pytest.raises(MailDelayed, match="Timeout"):
            await mailer(mailbox).send(message())
    listening.close()
    await listening.wait_closed()
    with pytest.raises(MailDelayed, match="SMTPConnectError"):
        await mailer(mailbox).send(message())


async def test_without_a_server_the_mail_is_in_the_log() -> None:
    mailer = make_mailer(load_settings())
    assert isinstance(mailer, LogMailer)
    with structlog.testing.capture_logs() as logged:
        await mailer.send(message())
    (line,) = logged
    assert (line["event"], line["to"], line["subject"]) == ("mail_not_sent", "ada@example.com", "Hello 你好")
    assert "/#/verify?token=abc" in line["text"]


@pytest.mark.parametrize(
    ("url", "encryption", "port"),
    [
        ("smtp://host", Encryption.OPTIONAL, 587),
        ("smtp://user:p%40ss@host", Encryption.REQUIRED, 587),
        ("smtp://user:p%40ss@host:25?starttls=never", Encryption.NEVER, 25),
        ("smtp://host:25/?starttls=required", Encryption.REQUIRED, 25),
        ("smtps://user:p%40ss@[::1]", Encryption.TLS, 465),
    ],
)
def test_an_address_says_when_it_is_encrypted(url: str, encryption: Encryption, port: int) -> None:
    server = smtp_address.parse(url)
    assert (server.encryption, server.port) == (encryption, port)
    assert server.password in (None, "p@ss")
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "smtp://",
        "smtp://user@host",
        "smtp://:secret@",
        "smtp://user:sec/ret@host",
        "smtp://user:secret@host:port",
        "smtp://user:sec%0aret@host",
        "smtp://host/path",
        "smtp://host#x",
        "smtp://host?starttls=perhaps",
        "smtp://host?timeout=secret",
        "smtps://host?starttls=never",
        "secret",
    ],
)
def test_another_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(not smtp|a user needs|the only option)") as refused:
        smtp_address.parse(url)
    assert "sec" not in str(refused.value)
