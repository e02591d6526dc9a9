"""The update that a change to a document makes, alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycrdt import Doc, TransactionEvent

from crdt.updates import EMPTY_UPDATE, merge


def update_of(doc: Doc[Any], change: Callable[[], object]) -> bytes:
    """Make a change in one transaction and return the update that it made: 00 00 where it changed nothing."""
    # From a subscription that ends with it: get_update would repeat the whole delete set.
    made: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        made.append(event.update)

    subscription = doc.observe(keep)
    try:
        with doc.transaction():
            change()
    finally:
        doc.unobserve(subscription)
    return merge(made) if len(made) > 1 else made[0] if made else EMPTY_UPDATE
