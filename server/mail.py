"""Mails handed over to an SMTP server, or, where none is set, written to the log."""

import asyncio
import ssl
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Protocol
from uuid import uuid4

import aiosmtplib
import structlog
from aiosmtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPResponseException, SMTPSenderRefused

from server import smtp_address
from server.config import Settings
from server.errors import ServerError
from server.smtp_address import Encryption, SmtpServer

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 10.0
"""What the SMTP server has for each answer, the connection included; past it the mail is tried again later."""
SEND_SECONDS = 30.0
"""What it has for all of one mail: a job that mails keeps others waiting."""
PERMANENT = 500
"""From this code on an answer is for good (RFC 5321, 4.2.1)."""


class MailRefused(ServerError):
    """The SMTP server will never take this mail: its sender, recipient or content."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class MailDelayed(ServerError):
    """The mail could not be handed over now. The text names what went wrong, and repeats nothing that was said on the way."""


class Mailer(Protocol):
    """What takes mails away."""

    async def send(self, message: EmailMessage) -> None:
        """Hand the mail over. Raises MailRefused, MailDelayed."""


def compose(*, sender: str, recipient: str, subject: str, text: str, now: datetime) -> EmailMessage:
    """A plain text mail that no program answers (RFC 3834).

    Raises:
        ValueError: one of the addresses or the subject has characters that would begin another header.
    """
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{uuid4().hex}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, charset="utf-8")
    return message


class LogMailer:
    """Writes mails to the log, tokens and all: for trying out."""

    async def send(self, message: EmailMessage) -> None:
        log.info("mail_not_sent", reason="no PROMPTSYNC_SMTP_URL", to=message["To"], subject=message["Subject"], text=message.get_content())


class SmtpMailer:
    """Hands each mail over on a connection of its own."""

    def __init__(
        self, server: SmtpServer, *, sender: str, tls: ssl.SSLContext | None = None, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        """`sender` is what bounces go to. Certificates are checked against those that the system trusts, or by `tls`."""
        self._server = server
        self._sender = sender
        self._tls = tls
        self._answer_seconds = answer_seconds

    async def send(self, message: EmailMessage) -> None:
        client = self._client()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await client.connect()
                await client.send_message(message, sender=self._sender, recipients=[str(message["To"])])
                with suppress(SMTPException, OSError):  # it has the mail by now
                    await client.quit()
        except (SMTPRecipientsRefused, SMTPSenderRefused, SMTPDataError) as error:
            code = _code_of(error)
            if code >= PERMANENT:
                raise MailRefused(code) from None
            raise MailDelayed(f"{type(error).__name__} {code}") from None
        except SMTPResponseException as error:
            raise MailDelayed(f"{type(error).__name__} {error.code}") from None
        except (SMTPException, OSError, ValueError) as error:  # ssl's errors are OSErrors, and so is a timeout
            raise MailDelayed(type(error).__name__) from None
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        starttls = {Encryption.REQUIRED: True, Encryption.OPTIONAL: None}.get(server.encryption, False)
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            timeout=self._answer_seconds,
            use_tls=server.encryption is Encryption.TLS,
            start_tls=starttls,
            tls_context=self._tls,
        )


def make_mailer(settings: Settings) -> Mailer:
    """What mails go through by these settings."""
    if settings.smtp_url is None:
        return LogMailer()
    return SmtpMailer(smtp_address.parse(settings.smtp_url.get_secret_value()), sender=parseaddr(settings.sender)[1])


def _code_of(error: SMTPRecipientsRefused | SMTPSenderRefused | SMTPDataError) -> int:
    if isinstance(error, SMTPRecipientsRefused):
        return min(refused.code for refused in error.recipients)
    return error.code
