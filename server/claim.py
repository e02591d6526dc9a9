"""What a request that creates something draws from, so that sent again after a crash it makes the same things, not others."""

import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from storage import idempotency
from storage.idempotency import Key
from storage.pool import Connection

_ID_LABEL = b"promptsync id 1"
_SORTED = 1 << 12


class Claim:
    """The ids and the time of one request's work: the same again whenever the request is sent again under its key."""

    def __init__(self, *, seed: bytes, now: datetime, was_done: bool = False, key: Key | None = None) -> None:
        """Without a key (the request has none) nothing is stored of it."""
        self.now = now
        self.was_done = was_done
        """An earlier attempt has committed its work: what is not there any more was deleted since, and must not be made again."""
        self.is_done = False
        """This attempt has."""
        self._seed = seed
        self._key = key

    def id_for(self, number: int) -> UUID:
        """The id of the thing of this number, from 0, that the request makes: a UUIDv7. The first 4,096 sort by their numbers."""
        random = hmac.digest(self._seed, _ID_LABEL + number.to_bytes(8), hashlib.sha256)
        milliseconds = int(self.now.timestamp() * 1000)
        return UUID(int=milliseconds << 80 | 7 << 76 | number % _SORTED << 64 | 2 << 62 | int.from_bytes(random[:8]) >> 2)

    @property
    def is_keyed(self) -> bool:
        """Whether the request may be sent again under its key."""
        return self._key is not None

    async def mark(self, connection: Connection) -> None:
        """Have `was_done` said to later attempts, from the commit of this transaction, which makes the thing, on."""
        if self._key is not None:
            await idempotency.mark(connection, self._key)

    def done(self) -> None:
        """Say, after the commit, that the work is done: a refusal that still follows is the answer from then on, and is kept."""
        self.is_done = True
