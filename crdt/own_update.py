"""The update that a change to a document makes, alone, and what it holds."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc, TransactionEvent

from crdt.updates import EMPTY_UPDATE, Inspected, decode_state_vector, inspect, merge

READ_BYTES = 16 << 10
"""An update of up to so many bytes is read to see what it holds; of a larger one the transaction tells: 700 KB take 50 ms to read."""


class Made:
    """What transactions on a document have made, in their order."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._client_id = int(doc.client_id)
        self._updates: list[bytes] = []
        self._told: dict[int, Inspected] = {}  # by the place of their updates

    def add(self, event: TransactionEvent) -> None:
        """A transaction has ended."""
        update = event.update
        if len(update) > READ_BYTES:
            told: Any = event  # pycrdt's stubs lack what its transactions tell
            start, end = (decode_state_vector(state).get(self._client_id, 0) for state in (told.before_state, told.after_state))
            deleted = inspect(EMPTY_UPDATE[:1] + told.delete_set).deleted
            self._told[len(self._updates)] = Inspected(array("Q", (self._client_id, start, end) if end > start else ()), deleted)
        self._updates.append(update)

    @property
    def update(self) -> bytes:
        """All of it as one update: 00 00 where nothing was changed."""
        return merge(self._updates) if len(self._updates) > 1 else self._updates[0] if self._updates else EMPTY_UPDATE

    @property
    def inspected(self) -> Inspected:
        """What that holds and deletes."""
        held, deleted = array("Q"), array("Q")
        for place, update in enumerate(self._updates):
            inspected = self._told.get(place) or inspect(update)
            if held and inspected.held and held[-1] == inspected.held[1]:  # a document writes as one client, without gaps
                held[-1] = inspected.held[2]
            else:
                held.extend(inspected.held)
            deleted.extend(inspected.deleted)
        return Inspected(held, deleted)


@contextmanager
def making(doc: Doc[Any]) -> Iterator[Made]:
    """What is made until the end of the block."""
    # From a subscription that ends with it: get_update would repeat the whole delete set.
    made = Made(doc)
    subscription = doc.observe(made.add)
    try:
        yield made
    finally:
        doc.unobserve(subscription)


def update_of(doc: Doc[Any], change: Callable[[], object]) -> bytes:
    """Make a change in one transaction and return the update that it made: 00 00 where it changed nothing."""
    with making(doc) as made, doc.transaction():
        change()
    return made.update
