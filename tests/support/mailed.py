"""An application whose mails the test reads, and that nothing secret may leave by an answer, a log line or the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
import structlog

from auth.external_identities import ExternalIdentity
from auth.sessions import Device
from storage.identities import Provider
from tests.support.post import Post
from tests.support.rest import PASSWORD, Rest, bearer, grant

NEW = "staple battery horse"
APP = "https://app.example/prompts"


@dataclass
class Mailed:
    """Asks, delivers, and keeps what was answered."""

    rest: Rest
    post: Post
    answers: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    async def ask(self, path: str, body: object = None, token: str | None = None, **headers: str) -> httpx2.Response:
        """`POST /api/auth/<path>`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.rest.client.post(f"/api/auth/{path}", json=body, headers=bearer(token) | named)
        self.answers.append(answer.text)
        return answer

    async def register(self, email: str, **body: object) -> dict[str, Any]:
        """An account, with nothing left to deliver."""
        user = await self.rest.register(email, **body)
        await self.post.deliver()
        return user

    async def verified(self, email: str) -> dict[str, Any]:
        """An account whose mailbox was shown."""
        user = await self.rest.register(email)
        assert (await self.verify(await self.token(), user)).status_code == 204
        return user

    async def verify(self, token: str | None, user: dict[str, Any]) -> httpx2.Response:
        """Verify this user's address."""
        return await self.ask("email/verify", {"token": token}, user["access_token"])

    async def login(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        return await self.rest.post("/api/auth/login", {"email": email, "password": password})

    async def session(self, email: str, password: str = PASSWORD) -> dict[str, Any]:
        return grant(await self.login(email, password))

    async def social(self, email: str | None, subject: str | None = None) -> UUID:
        """An account that Google signs in to, and that has no password; its id."""
        external = ExternalIdentity(
            provider=Provider.GOOGLE,
            keys=(("https://accounts.google.com", subject or uuid4().hex),),
            email=email,
            email_verified=email is not None,
            authoritative=True,
            method="google",
        )
        device = Device(id=uuid4(), name="d", platform="p")
        services = self.rest.services
        return (await services.identities.sign_in(external, device, now=services.clock())).user.id

    async def token(self) -> str:
        """Deliver what is queued; the token in the one mail of it that has one, which must turn up nowhere else."""
        token = await self.post.token()
        self.secrets.append(token)
        return token

    async def subjects(self) -> list[tuple[str, str]]:
        """Deliver what is queued; to whom, and about what."""
        return [(str(message["To"]), str(message["Subject"])) for message in await self.post.deliver()]

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self.rest.services.database.acquire() as connection:
            await connection.execute(statement, *arguments)

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        async with self.rest.services.database.acquire() as connection:
            return [tuple(row.values()) for row in await connection.fetch(statement, *arguments)]

    async def events(self, user_id: object) -> list[str]:
        """What was noted of the user, oldest first."""
        return [row[0] for row in await self.rows("SELECT event FROM audit WHERE user_id = $1 ORDER BY id", UUID(str(user_id)))]

    async def everything_kept(self) -> str:
        """What the database holds in the tables that a token or a password passes by, and the queue."""
        tables = ("audit", "mails", "registrations", "users", "sessions", "jobs_pgqueuer", "jobs_pgqueuer_log")
        return "".join([str(await self.rows(f"SELECT t::text FROM {table} t")) for table in tables])  # noqa: S608  # the names above


@asynccontextmanager
async def mailed(rest: Rest) -> AsyncIterator[Mailed]:
    """One test's mails; at its end, no secret is in an answer, a line of the log, or the database."""
    rest.revoked.clear()
    post = Post(rest)
    await post.deliver()
    post.sent.clear()
    rest.clock.advance(hours=2)  # past the limits of the test before
    with structlog.testing.capture_logs() as logged:
        test = Mailed(rest, post)
        yield test
    said = str(logged) + "".join(test.answers) + await test.everything_kept()
    for secret in (*test.secrets, PASSWORD, NEW):
        assert secret not in said
