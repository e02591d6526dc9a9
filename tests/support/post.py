"""The mails of an application without a runner of jobs: its mail jobs are done when a test says so, and what they send is kept."""

import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from uuid import UUID

from auth.mail import MAIL
from server.mail_job import send_mail
from storage.job_queue import Job
from tests.support.rest import Rest

TOKEN = re.compile(r"(?:token=|^)([A-Za-z0-9_-]{43})$", re.MULTILINE)


@dataclass
class Post:
    """What takes mails, and hands them to the test."""

    rest: Rest
    sent: list[EmailMessage] = field(default_factory=list)

    async def send(self, message: EmailMessage) -> None:
        self.sent.append(message)

    async def run(self, mail_id: UUID | str) -> list[EmailMessage]:
        """Do the job of this mail; what it sent."""
        services, before = self.rest.services, len(self.sent)
        handler = send_mail(services.database, services.settings, self, services.clock, services.random)
        await handler(Job(1, MAIL, str(mail_id), 0))
        return self.sent[before:]

    async def deliver(self) -> list[EmailMessage]:
        """Do every mail job that is queued, in order; what they sent."""
        async with self.rest.services.database.acquire() as connection:
            rows = await connection.fetch("DELETE FROM jobs_pgqueuer WHERE entrypoint = 'mail' RETURNING id, payload")
        ids = [row["payload"].decode() for row in sorted(rows, key=lambda row: int(row["id"]))]
        return [message for mail_id in ids for message in await self.run(mail_id)]

    async def token(self) -> str:
        """Deliver what is queued; the token in the one mail of it that has one."""
        (token,) = [found for message in await self.deliver() if (found := token_in(message))]
        return token


def token_in(message: EmailMessage) -> str | None:
    """The token in a mail, if it has one."""
    found = TOKEN.search(text_of(message))
    return found.group(1) if found else None


def text_of(message: EmailMessage) -> str:
    """What a person reads."""
    content: str = message.get_content()
    return content.replace("\r\n", "\n")
