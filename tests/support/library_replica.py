"""A device's copy of a real library, and its way to the server without a socket."""

from uuid import UUID

import httpx2

from crdt.library import Library
from crdt.replica import Replica
from crdt.view import View
from protocol.exchange import Asked, decode_answered, encode_asked

OCTETS, MSGPACK = {"Content-Type": "application/octet-stream"}, {"Content-Type": "application/msgpack"}


class LibraryReplica(Replica):
    """A replica that is a library: operations change `library`, `view` reads it, and a `WireClient` takes it as it takes any replica."""

    def __init__(self, client_id: int | None = None) -> None:
        super().__init__(client_id)
        self.library = Library(client_id)
        self.view = View(self.library)
        self._doc = self.library.doc


async def store(client: httpx2.AsyncClient, library_id: UUID, update: bytes) -> httpx2.Response:
    """The answer to an update that is sent over REST."""
    return await client.post(f"/api/sync/{library_id}", content=update, headers=OCTETS)


async def pull(client: httpx2.AsyncClient, library_id: UUID, replica: Replica) -> None:
    """Take over what the replica lacks."""
    asked = encode_asked(Asked(replica.state_vector(), None))
    answer = await client.post(f"/api/sync/{library_id}", content=asked, headers=MSGPACK)
    assert answer.status_code == 200, answer.text
    answered = decode_answered(answer.content)
    for update in (answered.update, *answered.quarantined):
        replica.apply(update)


async def newcomer(client: httpx2.AsyncClient, library_id: UUID) -> LibraryReplica:
    """A device that had nothing, with all that the server has."""
    replica = LibraryReplica()
    await pull(client, library_id, replica)
    return replica


class RestDevice:
    """A device with a copy of the library, which stores its edits over REST."""

    def __init__(self, client: httpx2.AsyncClient, library_id: UUID) -> None:
        self._client = client
        self._library_id = library_id
        self._replica = LibraryReplica()
        self.library = self._replica.library

    async def pull(self) -> View:
        """Take over what is stored."""
        await pull(self._client, self._library_id, self._replica)
        return View(self.library)

    async def push(self, update: bytes) -> None:
        answer = await store(self._client, self._library_id, update)
        assert answer.status_code == 200, answer.text
