"""The update that a change to a document makes, alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc, TransactionEvent

from crdt.updates import EMPTY_UPDATE, merge


@contextmanager
def collected(doc: Doc[Any]) -> Iterator[list[bytes]]:
    """The updates that are made until the end of the block, one a transaction."""
    # From a subscription that ends with it: get_update would repeat the whole delete set.
    made: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        made.append(event.update)

    subscription = doc.observe(keep)
    try:
        yield made
    finally:
        doc.unobserve(subscription)


def joined(made: Sequence[bytes]) -> bytes:
    """Updates that follow one another as one: 00 00 where there are none."""
    return merge(made) if len(made) > 1 else made[0] if made else EMPTY_UPDATE


def update_of(doc: Doc[Any], change: Callable[[], object]) -> bytes:
    """Make a change in one transaction and return the update that it made: 00 00 where it changed nothing."""
    with collected(doc) as made, doc.transaction():
        change()
    return joined(made)
