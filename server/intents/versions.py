"""What REST asks of the versions of a prompt. These functions run where the document lies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from pydantic_core import to_json

from crdt import operations
from crdt.diffs import compared
from crdt.library import Root
from crdt.operations import IsCurrent, Missing, NewVersion
from crdt.shown import FullPrompt, FullVersion, Version
from crdt.view import View
from server.errors import Gone, TextTooLarge, TooMany, UnknownReference
from server.intents import prompts
from server.intents.prompt_json import version_json
from server.intents.prompts import Stamp, named_version, required, version_text

ORIGINAL = "original"
"""In place of a version: what was written before anything was optimised."""
MAX_COMPARED_BYTES = 1 << 20
"""Of one of two texts that are compared, in UTF-8: both are in the answer. Past it: 413."""
MAX_LABELS = 50
"""Labels of one prompt: they are answered with it. Past it: 409."""


class Written(NamedTuple):
    """A version that was made: its id, the version with its text as JSON, and the prompt's tag now."""

    id: str
    content: bytes
    etag: str


def diff(view: View, prompt_id: str, before: str | None, after: str | None) -> bytes:
    """What differs between two versions, as JSON. Raises Missing, TextTooLarge.

    Without names the current version is compared with the one before it; the first one comes after the original.
    """
    state = required(view, prompt_id, None)
    new = _side(view, state, after if after is not None else state.prompt.current or ORIGINAL)
    old = _side(view, state, before if before is not None else _before(new))
    old_text, new_text = (state.original if side is None else side.text for side in (old, new))
    if max(len(old_text.encode()), len(new_text.encode())) > MAX_COMPARED_BYTES:
        raise TextTooLarge
    found, labels = compared(old_text, new_text), view.labels(prompt_id)
    sides = [None if side is None else version_json(side.version, state.prompt.current, labels) for side in (old, new)]
    head = [f"--- {_title(old)}", f"+++ {_title(new)}"]
    segments = [{"op": segment.op.value, "text": segment.text} for segment in found.segments]
    return to_json({"from": sides[0], "to": sides[1], "unified": [*head, *found.unified] if found.unified else [], "segments": segments})


def make(view: View, prompt_id: str, text: str | None, note: str, stamp: Stamp, *, only: bool, if_match: Collection[str] | None) -> Written:
    """Make a version of a text, or of what the prompt is now, and use it. Made before, it is it; `only` that may be it.

    Raises Missing, Gone, Damaged, PreconditionFailed.
    """
    if view.version(prompt_id, stamp.version_id) is None:
        state = required(view, prompt_id, if_match)
        _check_again(only)
        is_first = state.prompt.current is None
        wanted = text if text is not None else state.original if is_first else state.optimized
        prompts.change(view, prompt_id, {"optimized_text": wanted, "new_version": True, "note": note}, stamp, if_match)
    return _written(view, prompt_id, stamp)


def restore(view: View, prompt_id: str, named: str, note: str, stamp: Stamp, *, only: bool, if_match: Collection[str] | None) -> Written:
    """Make a version of an older one's text, and use it. Made before, it is it; `only` that may be it.

    Raises Missing, Gone, PreconditionFailed.
    """
    if view.version(prompt_id, stamp.version_id) is None:
        state, old = required(view, prompt_id, if_match), named_version(view, prompt_id, named)
        _check_again(only)
        made = _restored(old, note, stamp)
        _edit(view, state, stamp.now, lambda: operations.add_version(view.library, prompt_id, made))
    return _written(view, prompt_id, stamp)


def choose(view: View, prompt_id: str, named: str, now: int, if_match: Collection[str] | None) -> FullPrompt:
    """Use an older version, without making a new one. Raises Missing, UnknownReference, PreconditionFailed."""
    state, version_id = required(view, prompt_id, if_match), _referred(view, prompt_id, named)
    if view.library.root(Root.PROMPTS)[prompt_id].get("current") != version_id:
        _edit(view, state, now, lambda: operations.choose_version(view.library, prompt_id, version_id))
    return required(view, prompt_id, None)


def label(view: View, prompt_id: str, name: str, named: str, if_match: Collection[str] | None) -> str:
    """Move a label to a version; the prompt's tag then. Raises Missing, UnknownReference, TooMany, PreconditionFailed."""
    required(view, prompt_id, if_match)
    version_id, labels = _referred(view, prompt_id, named), view.labels(prompt_id)
    if name not in labels and len(labels) >= MAX_LABELS:
        raise TooMany
    operations.label_version(view.library, prompt_id, name, version_id)
    return required(view, prompt_id, None).etag


def unlabel(view: View, prompt_id: str, name: str, if_match: Collection[str] | None) -> str:
    """Take a label off; the prompt's tag then. Raises Missing, PreconditionFailed."""
    required(view, prompt_id, if_match)
    if f"{prompt_id}/{name}" not in view.library.root(Root.LABELS):
        raise Missing("no such label")
    operations.label_version(view.library, prompt_id, name, None)
    return required(view, prompt_id, None).etag


def remove(view: View, prompt_id: str, named: str, if_match: Collection[str] | None) -> str:
    """Destroy a version that is not the current one; the prompt's tag then. Raises Missing, IsCurrent, PreconditionFailed."""
    state, version_id = required(view, prompt_id, if_match), named_version(view, prompt_id, named).version.id
    if state.prompt.current == version_id:  # also where the register names another one, which is gone
        raise IsCurrent("the version is the current one")
    operations.remove_version(view.library, prompt_id, version_id)
    return required(view, prompt_id, None).etag


# --- below


def _side(view: View, state: FullPrompt, named: str) -> FullVersion | None:
    """A version; None for the original."""
    return None if named == ORIGINAL else named_version(view, state.prompt.id, named)


def _referred(view: View, prompt_id: str, named: str) -> str:
    """The id of the version that a field names. Raises UnknownReference."""
    try:
        return named_version(view, prompt_id, named).version.id
    except Missing as error:
        raise UnknownReference("version") from error


def _before(side: FullVersion | None) -> str:
    return ORIGINAL if side is None or side.version.number == 1 else str(side.version.number - 1)


def _title(side: FullVersion | None) -> str:
    return ORIGINAL if side is None else f"version {side.version.number}"


def _check_again(only: bool) -> None:
    if only:
        raise Gone


def _restored(old: FullVersion, note: str, stamp: Stamp) -> NewVersion:
    version: Version = old.version
    made_by = {"model": version.model, "model_name": version.model_name, "template": version.template}
    return NewVersion(
        id=stamp.version_id,
        text=old.text,
        kind="restore",
        at=stamp.now,
        device=stamp.device,
        parent=version.id,
        note=note,
        more={name: value for name, value in made_by.items() if value is not None},
    )


def _edit(view: View, state: FullPrompt, now: int, change: Callable[[], object]) -> None:
    """Change what the prompt is, and say when."""
    library, prompt = view.library, state.prompt

    def write() -> None:
        operations.set_fields(library, prompt.id, {"touched_at": max(now, prompt.touched_at)})
        change()

    library.edit(write)


def _written(view: View, prompt_id: str, stamp: Stamp) -> Written:
    state, version = required(view, prompt_id, None), named_version(view, prompt_id, stamp.version_id)
    return Written(stamp.version_id, version_text(view, state, version), state.etag)
