"""Several operations on a library's prompts, carried out in their order and committed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from crdt.errors import CrdtError
from crdt.view import View
from server.errors import BatchRefused, ServerError
from server.intents import prompts
from server.intents.prompts import Draft, Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Make a prompt."""

    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Set fields of a prompt."""

    id: str
    fields: Mapping[str, Any]
    stamp: Stamp
    if_match: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleting:
    """Put a prompt into the bin, or destroy it."""

    id: str
    now: int
    purge: bool
    if_match: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one operation: its prompt's id and tag (none where it is destroyed), or the error."""

    id: str
    etag: str | None = None
    error: Exception | None = None


def carry_out(view: View, operations: Sequence[Making | Setting | Deleting], *, atomic: bool) -> list[Done]:
    """What became of each. Each is carried out as a whole or not at all; where `atomic` is asked for, so are all together.

    Raises:
        BatchRefused: one was refused, and all were wanted.
    """
    done: list[Done] = []
    for is_making, run in groupby(operations, lambda operation: isinstance(operation, Making)):
        if is_making:  # they need nothing of one another, and so only one transaction
            done += _create([operation.draft for operation in run if isinstance(operation, Making)], view)
        else:
            done += [_carry_out(view, operation) for operation in run]
    if atomic and any(each.error is not None for each in done):
        raise BatchRefused(done)
    return done


def _create(drafts: Sequence[Draft], view: View) -> list[Done]:
    return [
        Done(id=draft.id, error=made) if isinstance(made, Exception) else Done(id=draft.id, etag=made.etag)
        for draft, made in zip(drafts, prompts.create_all(view, drafts), strict=True)
    ]


def _carry_out(view: View, operation: Making | Setting | Deleting) -> Done:
    try:
        match operation:
            case Making(draft=draft):
                return _create([draft], view)[0]
            case Setting(id=prompt_id, fields=fields, stamp=stamp, if_match=tag):
                state = prompts.change(view, prompt_id, fields, stamp, None if tag is None else {tag})
                return Done(id=prompt_id, etag=state.etag)
            case Deleting(id=prompt_id, now=now, purge=purge, if_match=tag):
                prompts.delete(view, prompt_id, now, purge=purge, if_match=None if tag is None else {tag})
                left = view.full(prompt_id)
                return Done(id=prompt_id, etag=left.etag if left is not None else None)
    except (CrdtError, ServerError) as error:
        return Done(id=operation.draft.id if isinstance(operation, Making) else operation.id, error=error)
