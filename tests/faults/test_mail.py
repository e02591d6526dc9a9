"""A worker that dies after its mail was taken, and before that was noted: the mail goes out again, with a token that is the only one."""

from collections.abc import AsyncIterator

import pytest

from tests.support.core import eventually
from tests.support.job_worker import bench
from tests.support.mailed import Mailed, mailed
from tests.support.post import token_in
from tests.support.rest import Rest, fresh_email, rest_api
from tests.support.smtp import Mailbox, smtp_server

pytestmark = pytest.mark.faults


@pytest.fixture
async def rest(database_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(database_dsn) as rest:
        yield rest


async def until_taken(smtp: Mailbox, count: int) -> None:
    async def taken() -> bool:
        return len(smtp.taken) >= count

    await eventually(taken, f"{count} mails", within=30)


async def test_a_mail_whose_worker_was_killed_amid_goes_out_again(database_dsn: str, rest: Rest) -> None:
    async with bench(database_dsn) as jobs, mailed(rest) as test, smtp_server() as smtp:
        env = {"PROMPTSYNC_SMTP_URL": f"smtp://127.0.0.1:{smtp.port}", "PROMPTSYNC_MAIL_FROM": "no-reply@server.example"}
        smtp.hanging = True
        user = await rest.register(fresh_email())
        first = jobs.worker(env=env)
        await until_taken(smtp, 1)
        first.kill()
        smtp.hanging = False
        jobs.worker(env=env)
        await until_taken(smtp, 2)
        ((mail_id,),) = await test.rows("SELECT id::text FROM mails")
        await jobs.until_state(mail_id, None)

        lost, sent = (token_in(mail) for mail in smtp.taken)
        test.secrets += [str(lost), str(sent)]
        assert await _verifies(test, sent, user) == (204, True)
        assert (await test.verify(lost, user)).status_code == 403


async def _verifies(test: Mailed, token: str | None, user: dict[str, str]) -> tuple[int, bool]:
    status = (await test.verify(token, user)).status_code
    return status, (await test.rest.get("/api/users/me", user["access_token"])).json()["email_verified"]
