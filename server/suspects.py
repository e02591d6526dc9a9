"""Which updates of a log break Yrs: found by trying beginnings of the log, each in a worker process that may die of it."""

from collections.abc import Sequence

from crdt.fold import Bisection, FoldBroken
from server.errors import WorkerDied
from server.workers import Workers

MOST_CULPRITS = 16
"""Updates looked for at once; a log with more of them is searched again, without these."""
DIED = "it ends the process that folds it, or takes it too long"


async def culprits(workers: Workers, snapshot: bytes | None, updates: Sequence[bytes]) -> dict[int, str]:
    """The indexes of those updates without which the rest folds, and what each does; at most MOST_CULPRITS.

    Empty when no update is to blame: the snapshot alone breaks, or trying again finds nothing that does.
    """
    found: dict[int, str] = {}
    rest = list(enumerate(updates))
    if await _reason(workers, snapshot, []) is not None:
        return found
    while rest and len(found) < MOST_CULPRITS and await _reason(workers, snapshot, rest) is not None:
        search = Bisection(len(rest))
        while (half := search.half) is not None:
            search.tell(half, await _reason(workers, snapshot, rest[:half]) is not None)
        # Once more: a process that was killed meanwhile, for another's hunger for memory perhaps, condemns nobody.
        reason = await _reason(workers, snapshot, rest[: search.culprit + 1], again=True)
        if reason is None:
            break
        index, _ = rest.pop(search.culprit)
        found[index] = reason
    return found


async def _reason(workers: Workers, snapshot: bytes | None, updates: Sequence[tuple[int, bytes]], *, again: bool = False) -> str | None:
    """What happens when these are folded; None when nothing does."""
    try:
        await workers.fold(snapshot, [update for _, update in updates], again=again)
    except FoldBroken as broken:
        return broken.reason
    except WorkerDied:
        return DIED
    return None
