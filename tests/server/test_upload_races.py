"""Who may write by REST is asked again once the update is read: a large one waits long for its turn, and is read long."""

from typing import Any

import pytest

from tests.support.born import BORN
from tests.support.core import typed
from tests.support.library_replica import store
from tests.support.running import running_server


@pytest.mark.parametrize(
    ("ending", "status"),
    [("UPDATE sessions SET revoked_at = now() WHERE user_id = $1", 401), ("UPDATE members SET role = 'viewer' WHERE user_id = $1", 403)],
    ids=["revoked", "viewer"],
)
async def test_who_may_not_write_any_more_once_the_upload_is_read_does_not(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch, ending: str, status: int
) -> None:
    async with running_server(database_dsn) as server:
        owner, user = await server.user(), await server.user()
        await server.add_member(owner.library_id, user, "editor")
        workers = server.app.workers
        read = workers.inspect

        async def slowly(*args: Any) -> Any:
            await server.execute(ending, user.id)
            return await read(*args)

        monkeypatch.setattr(workers, "inspect", slowly)
        async with server.http(user) as http:
            answer = await store(http, owner.library_id, typed("a", 11, 0))
        assert answer.status_code == status
        room = await server.app.rooms.open(owner.library_id)
        assert room.head == BORN
