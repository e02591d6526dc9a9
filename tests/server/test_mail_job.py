"""The job that sends mails: at least once, never with a token that is kept, and through real SMTP and a real queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import structlog

from server.config import load_settings
from server.jobs import Jobs
from server.mail import MailDelayed, MailRefused
from server.mail_job import KEPT_DAYS, forget_mails, send_mail
from storage import job_queue, job_records
from storage.job_queue import Job, Pace
from tests.support.core import eventually, new_keyring
from tests.support.job_worker import Ground
from tests.support.mailed import NEW, Mailed, mailed
from tests.support.post import TOKEN, token_in
from tests.support.rest import Rest, fresh_email, rest_api
from tests.support.running import closed, running_server
from tests.support.smtp import Mailbox, smtp_server


@pytest.fixture
async def rest(database_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(database_dsn) as rest:
        yield rest


@pytest.fixture
async def test(rest: Rest) -> AsyncIterator[Mailed]:
    async with mailed(rest) as test:
        yield test


class Refusing:
    """Takes the mail, or not."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        self.sent.append(message)
        if (error := self.errors.pop(0)) is not None:
            raise error


async def run(test: Mailed, mailer: Refusing) -> list[str | None]:
    """Do the job of the newest mail as often as the mailer has something to say; the tokens that it was given."""
    services = test.rest.services
    ((mail_id,),) = await test.rows("SELECT id FROM mails ORDER BY created_at DESC LIMIT 1")
    handler = send_mail(services.database, services.settings, mailer, services.clock, services.random)
    while mailer.errors:
        try:
            await handler(Job(1, "mail", str(mail_id), 0))
        except (MailDelayed, ConnectionResetError):
            continue
    tokens = [token_in(message) for message in mailer.sent]
    test.secrets += [token for token in tokens if token]
    return tokens


async def verifies(test: Mailed, token: str | None, user: dict[str, Any]) -> bool:
    return (await test.verify(token, user)).status_code == 204


async def test_a_mail_is_asked_for_in_the_transaction_that_brings_it_about(test: Mailed) -> None:
    email = fresh_email()
    await test.rest.register(email)
    assert (await test.rest.post("/api/auth/register", {"email": email, "password": NEW})).status_code == 409
    async with test.rest.services.database.acquire() as connection:
        (job,) = await job_records.jobs(connection, stuck_after=timedelta(seconds=30), limit=9)
    ((mail_id, token_hash),) = await test.rows("SELECT id::text, token_hash FROM mails")
    assert (job.kind, job.subject, token_hash) == ("mail", mail_id, None)
    await test.post.deliver()


async def test_a_job_that_runs_again_mints_a_new_token_and_the_one_before_is_none(test: Mailed) -> None:
    """Its process died after the mail was handed over, and before that was noted."""
    user = await test.rest.register(fresh_email())
    first, second = await run(test, Refusing(ConnectionResetError(), None))
    assert first != second
    assert not await verifies(test, first, user)
    assert await verifies(test, second, user)


async def test_a_mail_whose_sending_was_noted_is_not_sent_again(test: Mailed) -> None:
    user = await test.rest.register(fresh_email())
    mailer = Refusing(None)
    (token,) = await run(test, mailer)
    ((mail_id,),) = await test.rows("SELECT id FROM mails")
    assert await test.post.run(mail_id) == []
    assert await verifies(test, token, user)


async def test_a_mail_that_is_refused_for_good_is_given_up_with_its_token(test: Mailed) -> None:
    user = await test.rest.register(fresh_email())
    (token,) = await run(test, Refusing(MailRefused(550)))
    assert not await verifies(test, token, user)
    ((mail_id,),) = await test.rows("SELECT id FROM mails")
    assert await test.post.run(mail_id) == []


async def test_a_mail_that_is_gone_is_no_trouble(test: Mailed) -> None:
    await test.rest.register(fresh_email())
    ((mail_id,),) = await test.rows("SELECT id FROM mails")
    await test.execute("DELETE FROM mails")
    assert await test.post.run(mail_id) == []


async def test_old_mails_and_registrations_are_forgotten(database_dsn: str) -> None:
    async with rest_api(database_dsn, registration="verified") as rest, mailed(rest) as test:
        for _ in range(2):
            assert (await test.ask("register", {"email": fresh_email(), "password": NEW})).status_code == 202
            rest.clock.advance(days=KEPT_DAYS, seconds=-1)
        await forget_mails(rest.services.database, rest.clock)(Job(1, "mails", "", 0))
        assert await test.rows("SELECT (SELECT count(*) FROM mails), (SELECT count(*) FROM registrations)") == [(1, 1)]


# --- with a real queue and a real SMTP server


@asynccontextmanager
async def working(rest: Rest, smtp: Mailbox) -> AsyncIterator[None]:
    """A runner of jobs that hands mails to this server."""
    settings = load_settings(smtp_url=f"smtp://127.0.0.1:{smtp.port}", mail_from="Prompts <no-reply@server.example>")
    jobs = Jobs(Ground(rest.services.database, settings, rest.clock), pace=Pace(look_seconds=0.1), schedules={})
    work = asyncio.create_task(jobs.run())
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait((work,))


async def until_taken(smtp: Mailbox, count: int = 1) -> EmailMessage:
    async def taken() -> bool:
        return len(smtp.taken) >= count

    await eventually(taken, f"{count} mails")
    return smtp.taken[-1]


async def test_what_is_refused_for_a_while_is_sent_later(test: Mailed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "RETRY_SECONDS", (0.05, 0.1))
    async with smtp_server() as smtp, working(test.rest, smtp):
        smtp.answers = ["451 greylisted, ada", "421 later"]
        user = await test.rest.register(fresh_email())
        mail = await until_taken(smtp)
        assert mail["To"] == user["user"]["email"]
        test.secrets.append(str(token_in(mail)))
        assert await verifies(test, token_in(mail), user)
        reasons = await test.rows("SELECT traceback::text FROM jobs_pgqueuer_log WHERE traceback IS NOT NULL")
    assert len(reasons) == 2
    assert "SMTPDataError 451" in str(reasons)
    assert "greylisted" not in str(reasons)


async def test_what_is_refused_for_good_ends_and_holds_nobody_up(test: Mailed) -> None:
    async with smtp_server() as smtp, working(test.rest, smtp):
        smtp.answers = ["550 no such user"]
        first = fresh_email()
        with structlog.testing.capture_logs() as logged:
            await test.rest.register(first)

            async def refused() -> bool:
                return any(line["event"] == "mail_refused" and line["smtp_code"] == 550 for line in logged)

            await eventually(refused, "the refusal")
        assert first not in str(logged)
        await test.rest.register(fresh_email())
        test.secrets.append(str(token_in(await until_taken(smtp))))

        async def done() -> bool:
            return await test.rows("SELECT count(*) FROM jobs_pgqueuer") == [(0,)]

        await eventually(done, "the end of both jobs")


async def test_of_two_that_send_one_mail_at_once_the_later_token_counts(test: Mailed) -> None:
    """A paused process, whose job another has taken over, goes on."""
    user = await test.rest.register(fresh_email())
    ((mail_id,),) = await test.rows("SELECT id FROM mails")
    services, go_on = test.rest.services, asyncio.Event()

    class Paused(Refusing):
        async def send(self, message: EmailMessage) -> None:
            await go_on.wait()
            await super().send(message)

    paused = Paused(None)
    slow = asyncio.ensure_future(
        send_mail(services.database, services.settings, paused, services.clock, services.random)(Job(1, "mail", str(mail_id), 0))
    )

    async def minted() -> bool:
        return bool(await test.rows("SELECT 1 FROM mails WHERE token_hash IS NOT NULL"))

    await eventually(minted, "the first token")
    (second,) = await test.post.run(mail_id)
    go_on.set()
    await slow
    (first,) = paused.sent
    test.secrets += [str(token_in(first)), str(token_in(second))]
    assert not await verifies(test, token_in(first), user)
    assert await verifies(test, token_in(second), user)


# --- with two servers


async def test_without_an_smtp_server_the_log_has_the_mail_in_one_line_and_nothing_else_of_it(database_dsn: str) -> None:
    with structlog.testing.capture_logs() as logged:
        async with running_server(database_dsn) as server, server.http() as client:
            email = fresh_email()
            registered = await client.post("/api/auth/register", json={"email": email, "password": NEW})
            assert registered.status_code == 201
            client.headers["Authorization"] = f"Bearer {registered.json()['access_token']}"

            async def written() -> bool:
                return any(line["event"] == "mail_not_sent" for line in logged)

            await eventually(written, "the mail")
            (line,) = [line for line in logged if line["event"] == "mail_not_sent"]
            token = TOKEN.search(line["text"])
            assert token is not None
            assert line["to"] == email
            assert (await client.post("/api/auth/email/verify", json={"token": token.group(1)})).status_code == 204
    others = str([each for each in logged if each["event"] != "mail_not_sent"])
    assert token.group(1) not in others
    assert email not in others


async def test_a_reset_by_one_server_closes_the_sockets_and_refuses_the_tokens_of_another(database_dsn: str) -> None:
    keyring = new_keyring()
    async with (
        smtp_server() as smtp,
        running_server(database_dsn, keyring=keyring, smtp_url=f"smtp://127.0.0.1:{smtp.port}", mail_from="no-reply@server.example") as one,
        running_server(database_dsn, keyring=keyring, jobs=False) as two,
    ):
        user = await one.user()
        async with one.services.database.acquire() as connection:
            email = await connection.fetchval("SELECT email FROM users WHERE id = $1", user.id)
        socket = await two.socket(user)
        async with one.http() as client, two.http(user) as other:
            assert (await client.post("/api/auth/password/forgot", json={"email": email})).status_code == 202
            token = token_in(await until_taken(smtp))
            answer = await client.post("/api/auth/password/reset", json={"token": token, "password": NEW})
            assert answer.status_code == 204
            code, _ = await closed(socket, within=2.0)
            assert code == 4401
            assert (await other.get("/api/users/me")).status_code == 401
