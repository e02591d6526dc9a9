"""How many sockets each user has open in this process, and how fast they may be opened."""

from collections.abc import Callable
from uuid import UUID

from server.limits.buckets import Buckets
from server.limits.refusals import note


class Places:
    """A place for each socket. Several processes each have as many: a user may have so many times more where they all serve."""

    def __init__(self, *, a_user: int, openings_a_second: int, clock: Callable[[], float]) -> None:
        self._most = a_user
        self._openings = Buckets(
            "user_openings", a_minute=60 * openings_a_second, burst=openings_a_second, clock=clock, bucket=lambda user_id: user_id
        )
        self._taken: dict[UUID, int] = {}

    def take(self, user_id: UUID) -> str | None:
        """Take a place, to be given back by `leave`; or why there is none."""
        if not self._openings.allow(user_id.hex):
            return "too many openings of this user"
        taken = self._taken.get(user_id, 0)
        if taken >= self._most:
            note("user_sockets", user=str(user_id))
            return "too many sockets of this user"
        self._taken[user_id] = taken + 1
        return None

    def leave(self, user_id: UUID) -> None:
        """The socket is gone."""
        left = self._taken.pop(user_id) - 1
        if left:
            self._taken[user_id] = left
