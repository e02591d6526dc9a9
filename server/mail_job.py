"""The durable job that sends one mail, and the one that forgets old ones."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from auth.mail import Desk
from server.config import Settings
from server.letters import written
from server.mail import Mailer, MailRefused, compose
from server.purge import chunks
from storage import mails
from storage.job_queue import Handler, Job
from storage.pool import Database

log = structlog.get_logger(__name__)

MAILS = "mails"
"""Deletes old mails, and registrations that nobody has confirmed."""
KEPT_DAYS = 2
"""Mails are kept so long, sent or not: longer than any token is good for. They have addresses, and registrations have a password's hash."""
CHUNK_ROWS = 1_000
"""Mails one transaction deletes."""


def send_mail(
    database: Database, settings: Settings, mailer: Mailer, clock: Callable[[], datetime], random: Callable[[int], bytes]
) -> Handler:
    """What sends a mail; the subject is its id. It may run twice: then a mail whose sending was not noted goes out again, with a new
    token, and the one before is none. What the SMTP server does not take now is tried again by the queue."""
    desk = Desk(database, lifetime=timedelta(minutes=settings.mail_token_minutes), random=random)

    async def send(job: Job) -> None:
        mail_id = UUID(job.subject)
        letter = await desk.letter(mail_id, now=clock())
        if letter is None:
            return
        subject, text = written(letter, app_url=settings.app_url, minutes=settings.mail_token_minutes)
        message = compose(sender=settings.sender, recipient=letter.address, subject=subject, text=text, now=clock())
        try:
            await mailer.send(message)
        except MailRefused as error:
            log.warning("mail_refused", mail=job.subject, kind=letter.kind.value, smtp_code=error.code)
            await desk.refused(mail_id, now=clock())
            return
        await desk.sent(mail_id, now=clock())
        log.info("mail_done", mail=job.subject, kind=letter.kind.value)

    return send


def forget_mails(database: Database, clock: Callable[[], datetime]) -> Handler:
    """What deletes old mails."""

    async def forget(job: Job) -> None:
        before = clock() - timedelta(days=KEPT_DAYS)
        await chunks(database, lambda connection: mails.purge_step(connection, before, CHUNK_ROWS))

    return forget
