"""Several operations on a library's prompts, carried out in their order and committed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from crdt.errors import CrdtError
from crdt.operations import Missing, purge_prompts
from crdt.textdiff import MOST_STEPS_OF_ALL, Budget
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
    budget = Budget(MOST_STEPS_OF_ALL)
    for kind, run in groupby(operations, _kind):
        same = list(run)
        done += _AT_ONCE[kind](view, same) if kind in _AT_ONCE else [_carry_out(view, operation, budget) for operation in same]
    if atomic and any(each.error is not None for each in done):
        raise BatchRefused(done)
    return done


def _kind(operation: Making | Setting | Deleting) -> str:
    return "make" if isinstance(operation, Making) else "purge" if isinstance(operation, Deleting) and operation.purge else "other"


def _make(view: View, operations: Sequence[Any]) -> list[Done]:
    """They need nothing of one another, and so only one transaction."""
    drafts = [operation.draft for operation in operations]
    return [
        Done(id=draft.id, error=made) if isinstance(made, Exception) else Done(id=draft.id, etag=made.etag)
        for draft, made in zip(drafts, prompts.create_all(view, drafts), strict=True)
    ]


def _purge(view: View, operations: Sequence[Any]) -> list[Done]:
    """What is theirs is looked for once: in a large library that is what takes the time."""
    done: list[Done] = []
    purged: dict[str, None] = {}
    for operation in operations:
        try:
            if operation.id in purged:
                raise Missing("purged by this batch")
            prompts.required(view, operation.id, _tags(operation.if_match))
        except (CrdtError, ServerError) as error:
            done.append(Done(id=operation.id, error=error))
        else:
            purged[operation.id] = None
            done.append(Done(id=operation.id))
    purge_prompts(view.library, purged)
    return done


_AT_ONCE = {"make": _make, "purge": _purge}


def _carry_out(view: View, operation: Making | Setting | Deleting, budget: Budget) -> Done:
    assert not isinstance(operation, Making)  # noqa: S101  # made at once; tells the type checker
    try:
        match operation:
            case Setting(id=prompt_id, fields=fields, stamp=stamp, if_match=tag):
                return Done(id=prompt_id, etag=prompts.change(view, prompt_id, fields, stamp, _tags(tag), budget).etag)
            case Deleting(id=prompt_id, now=now, purge=purge, if_match=tag):
                prompts.delete(view, prompt_id, now, purge=purge, if_match=_tags(tag))
                left = view.full(prompt_id)
                return Done(id=prompt_id, etag=left.etag if left is not None else None)
    except (CrdtError, ServerError) as error:
        return Done(id=operation.id, error=error)


def _tags(tag: str | None) -> set[str] | None:
    return None if tag is None else {tag}
