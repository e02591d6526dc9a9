"""An update whose sender waits: what became of it, or the refusal as an error."""

import asyncio
from dataclasses import dataclass

from auth.errors import Forbidden
from server.batch import Entry, Refusal
from server.errors import Overgrown, TryLater, Unstorable
from server.writer import Writer
from storage.errors import NotFound

REFUSALS: dict[Refusal, type[Exception]] = {
    Refusal.GONE: NotFound,
    Refusal.FORBIDDEN: Forbidden,
    Refusal.OVERGROWN: Overgrown,
    Refusal.UNSTORABLE: Unstorable,
    Refusal.TROUBLE: TryLater,
    Refusal.STALE: TryLater,
    Refusal.OUTDATED: TryLater,
    Refusal.FULL: TryLater,
    Refusal.STOPPING: TryLater,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a library stands once an update is in it; `stored` is false where nothing in it was new."""

    seq: int
    stored: bool


class NotStored(Exception):
    """It is not stored: `refusal` says why, `REFUSALS` as what that is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class Awaited:
    """An origin whose caller waits for the outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def submit(self, writer: Writer, entry: Entry) -> Outcome:
        """Hand the entry, of which this is the origin, to the writer, and wait until it is committed. Raises NotStored."""
        writer.submit(entry)
        return await self.outcome

    def stored(self, entry: Entry, seq: int) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(seq, True))

    def redundant(self, entry: Entry, head: int) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(head, False))

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(NotStored(refusal))
