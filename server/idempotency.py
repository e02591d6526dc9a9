"""Requests that create something, done once however often they are sent, also when a process dies in between.

A request under an `Idempotency-Key` is claimed before anything is made, in a transaction of its own, and what the work draws (ids, the
time) comes from the claim. If the process dies before the answer was kept, the same request finds the claim, runs the work again with it,
and finds what was made instead of making it twice. So nothing depends on how an attempt is thought dead: two at once make
the same things, which are stored once.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

import structlog
from starlette.responses import Response

from server.claim import Claim
from server.errors import IdempotencyInProgress, IdempotencyKeyReused, TooManyIdempotencyKeys
from storage import idempotency, users
from storage.cipher import DataKey, answer_place, user_key_place
from storage.errors import NotFound, StorageError
from storage.idempotency import Key, Row
from storage.keyring import Keyring
from storage.pool import Connection, Database

log = structlog.get_logger(__name__)

KEPT_FOR = timedelta(hours=24)
"""How long a claim and its answer are kept: a device repeats what it got no answer to within a day. After it the key is new."""
MAX_KEYS = 1000
"""Claims of one user. Past it the oldest answered ones are forgotten, then those that nobody works on; if all are worked on: 429."""
MAX_ANSWER_BYTES = 160 << 10
"""Largest body that is kept, which the results of any batch fit into: at most 160 MB a user. Past it what was made is shown again as it is
now, or the request is refused: it is never done twice."""
ABANDONED_AFTER = timedelta(seconds=10)
"""An attempt of another process that has not ended after so long counts as dead, and its claim is taken over. Before: 409."""
SEED_BYTES = 32

REPLAYED = "Idempotency-Replayed"
"""On an answer that was given before, `true`."""
_KEPT_HEADERS = ("content-type", "location", "etag")
_KEY_LABEL = b"promptsync idempotency key 1"
_REQUEST_LABEL = b"promptsync idempotent request 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as it is told from others. `route` is the pattern that its path matched."""

    user_id: UUID
    key: str = field(repr=False)
    method: str
    route: str
    path: str = field(repr=False)
    query: bytes = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a claimed request, by this process."""

    key: Key
    number: int
    seed: bytes = field(repr=False)
    """Of the claim: one that was withdrawn and made again has another."""
    claim: Claim
    was_answered: bool
    """Before, with more than is kept."""
    data_key: DataKey
    place: bytes


class Idempotency:
    """The claims on this server's database, and which of them this process works on."""

    def __init__(self, *, database: Database, keyring: Keyring, clock: Callable[[], datetime], random: Callable[[int], bytes]) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._random = random
        self._process = UUID(bytes=random(16), version=4)
        self._working: set[tuple[Key, bytes, int]] = set()

    def without_key(self) -> Claim:
        """What a request without a key draws from."""
        return Claim(seed=self._random(SEED_BYTES), now=self._clock())

    async def begin(self, asked: Asked) -> Attempt | Response:
        """The attempt that is to be made at this request, claimed durably; or the answer that was kept. `end` ends an attempt.

        Raises:
            IdempotencyKeyReused: another request came under this key.
            IdempotencyInProgress: an attempt at this request is under way.
            TooManyIdempotencyKeys: MAX_KEYS attempts at requests of the user are under way.
            NotFound: the user is gone.
        """
        attempt = None
        try:
            async with self._database.transaction() as connection:
                # the user's row, for the count of keys
                wrapped = await users.lock_with_key(connection, asked.user_id)
                if wrapped is None:
                    raise NotFound
                data_key = self._keyring.unwrap(*wrapped, user_key_place(asked.user_id))
                key = Key(user_id=asked.user_id, hash=_hash(data_key, _KEY_LABEL, asked.method, asked.route, asked.key))
                fingerprint = _hash(data_key, _REQUEST_LABEL, asked.method, asked.path, asked.query, asked.body)
                row = await self._claim(connection, key, fingerprint)
                place = answer_place(key.user_id, key.hash, fingerprint)
                if row.sealed is not None:
                    return _unpacked(data_key.open(row.sealed, place))
                attempt = Attempt(
                    key=key,
                    number=row.attempt,
                    seed=row.seed,
                    claim=Claim(seed=row.seed, now=row.claimed_at, was_done=row.effect or row.answered_at is not None, key=key),
                    was_answered=row.answered_at is not None,
                    data_key=data_key,
                    place=place,
                )
                # before the commit, after which others see it and must not take it for left
                self._working.add((key, row.seed, row.attempt))
        except BaseException:
            if attempt is not None:
                self.leave(attempt)
            raise
        return attempt

    async def _claim(self, connection: Connection, key: Key, fingerprint: bytes) -> Row:
        """The row, claimed for this process unless it has its answer."""
        now = self._clock()
        row, others = await idempotency.claim(
            connection,
            key,
            fingerprint=fingerprint,
            seed=self._random(SEED_BYTES),
            holder=self._process,
            now=now,
            expired=now - KEPT_FOR,
        )
        if others is not None:
            excess = others + 1 - MAX_KEYS
            if excess > 0 and not await idempotency.make_room(connection, key, excess, abandoned=now - ABANDONED_AFTER):
                raise TooManyIdempotencyKeys
            return row
        if row.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        if row.sealed is not None:
            return row
        if self._is_held(key, row, now):
            raise IdempotencyInProgress
        return await idempotency.take_over(connection, key, holder=self._process, now=now)

    def _is_held(self, key: Key, row: Row, now: datetime) -> bool:
        if row.holder == self._process:
            return (key, row.seed, row.attempt) in self._working
        return row.holder is not None and row.held_at > now - ABANDONED_AFTER

    async def hold(self, attempt: Attempt) -> None:
        """Have other processes know that this one is still at it; to be called more often than ABANDONED_AFTER. Never fails."""
        try:
            async with self._database.acquire() as connection:
                await idempotency.hold(connection, attempt.key, attempt.number, now=self._clock())
        except Exception as error:
            log.warning("attempt_not_held", error=type(error).__name__)

    async def end(self, attempt: Attempt, answer: Response) -> None:
        """Keep the answer of an attempt if it is one to keep; else let the next request try again.

        Never fails: the work is done, or refused, whatever can be noted of it. If nothing can, the next request finds what was made.
        """
        try:
            async with self._database.acquire() as connection:
                await self._settle(connection, attempt, answer)
        except Exception as error:
            log.warning("answer_not_kept", error=type(error).__name__, exc_info=None if isinstance(error, StorageError) else error)
        finally:
            self.leave(attempt)

    async def _settle(self, connection: Connection, attempt: Attempt, answer: Response) -> None:
        key, number, is_done = attempt.key, attempt.number, attempt.claim.is_done
        if answer.status_code < HTTPStatus.BAD_REQUEST or (is_done and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR):
            packed = _packed(answer)
            sealed = attempt.data_key.seal(packed, attempt.place) if packed is not None else None
            await idempotency.keep(connection, key, number, sealed=sealed, now=self._clock())
            return
        refused = answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        # after an error of ours, what was committed is not known
        if not refused or not await idempotency.withdraw(connection, key, number):
            await idempotency.set_free(connection, key, number, done=is_done)

    def leave(self, attempt: Attempt) -> None:
        """Give up an attempt without a word of how it ended: whoever asks this process next takes it over at once."""
        self._working.discard((attempt.key, attempt.seed, attempt.number))


def _hash(data_key: DataKey, label: bytes, *parts: str | bytes) -> bytes:
    """A keyed hash of the parts, in which no part can pass for the end of another."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    return data_key.fingerprint(label + digest.digest())


def _packed(answer: Response) -> bytes | None:
    """What is kept of the answer; None where it is too large, or made while it is sent."""
    body = getattr(answer, "body", None)
    if not isinstance(body, bytes) or len(body) > MAX_ANSWER_BYTES:
        return None
    head = {"status": answer.status_code, "headers": {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}}
    return json.dumps(head).encode() + b"\n" + body


def _unpacked(packed: bytes) -> Response:
    head, _, body = packed.partition(b"\n")
    fields = json.loads(head)
    return Response(body, fields["status"], fields["headers"] | {REPLAYED: "true"})
