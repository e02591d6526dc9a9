"""A desk: libraries that lie open as documents, and what is asked of them or changed in them.

One lies in the serving process, for small libraries, and one in each document process. Whoever gives the orders keeps account of what lies
where and at which seq; a desk only does what it is told.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from crdt.errors import DocumentBroken, InvalidUpdate
from crdt.library import Library
from crdt.own_update import making
from crdt.panics import told_as_broken
from crdt.updates import EMPTY_UPDATE, Inspected, decode_state_vector, inspect, merge
from crdt.view import View

NOTHING = inspect(EMPTY_UPDATE)


class Opening(NamedTuple):
    """What a library is opened with: the client that is written as, and everything that is in it."""

    client_id: int
    content: bytes


class Order(NamedTuple):
    """What a desk is to do with a library: open it anew or bring it up to date, then call `call` with its view."""

    library_id: UUID
    opening: Opening | None
    updates: Sequence[bytes]
    least: bytes
    """A state vector: so much the library has to hold once it is up to date."""
    call: Callable[[View], Any]


class Done(NamedTuple):
    """What came of an order. Where the call raised, `error` is that; `kept` tells whether the library still lies there."""

    answer: Any
    error: Exception | None
    update: bytes
    """What the call has changed: 00 00 where it changed nothing."""
    inspected: Inspected
    """What that holds and deletes."""
    nbytes: int
    """About what the library takes of memory, in bytes."""
    kept: bool


class NotThere(Exception):
    """The library does not lie on this desk, or not all of it: it is to be opened."""


class Desk:
    """The libraries that are open as documents in this process."""

    def __init__(self) -> None:
        self._views: dict[UUID, View] = {}

    def do(self, order: Order) -> Done:
        """Carry out an order. A call that raises and has changed nothing leaves the library as it is; one that has leaves nothing.

        Raises:
            NotThere: it is to be opened, and nothing to open it with came along; nothing of it is left here.
            DocumentBroken: Yrs cannot make a document of it, or breaks on the call.
        """
        with told_as_broken():
            try:
                return self._do(order)
            except BaseException:
                self.clear([order.library_id])
                raise

    def _do(self, order: Order) -> Done:
        view = self._opened(order)
        if order.updates:
            # At once: of what came in another order than it was made, Yrs would tell the view only a part, and lose sight of some.
            view.library.take(_whole(order.updates))
            if not _covers(view.library.state_vector(), order.least):
                raise NotThere
        answer, failure = None, None
        with making(view.library.doc) as made:
            try:
                answer = order.call(view)
            except DocumentBroken:
                raise
            except Exception as error:
                failure = error
        update = made.update
        kept = failure is None or update == EMPTY_UPDATE
        if not kept:
            self.clear([order.library_id])
        return Done(answer, failure, update, made.inspected, view.nbytes if kept else 0, kept)

    def _opened(self, order: Order) -> View:
        if order.opening is not None:
            self.clear([order.library_id])
            library = Library(order.opening.client_id)
            library.take(order.opening.content)
            self._views[order.library_id] = View(library)
        elif order.library_id not in self._views:
            raise NotThere
        return self._views[order.library_id]

    def clear(self, library_ids: Sequence[UUID]) -> None:
        """Put these libraries away."""
        for library_id in library_ids:
            if (view := self._views.pop(library_id, None)) is not None:
                view.close()  # by this thread: the garbage collector may run on another


def _whole(updates: Sequence[bytes]) -> bytes:
    try:
        return merge(updates) if len(updates) > 1 else updates[0]
    except InvalidUpdate as error:
        raise DocumentBroken("Yrs cannot merge what came") from error


def _covers(held: bytes, least: bytes) -> bool:
    clocks = decode_state_vector(held)
    return all(clocks.get(client, 0) >= clock for client, clock in decode_state_vector(least).items())


DESK = Desk()
"""The desk of this process, where this is a document process."""


def portable(error: Exception) -> Exception:
    """The error if another process can read it; else one that names it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own, just made
    except Exception:
        return RuntimeError(f"{type(error).__name__}, which cannot be sent to another process")
    return error
