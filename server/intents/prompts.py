"""What REST asks of the prompts in a library's document. These functions run where the document lies, maybe in another process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from crdt import operations, query
from crdt.library import Mode
from crdt.operations import Missing, NewPrompt, NewVersion
from crdt.order import between
from crdt.plain import same
from crdt.query import Query
from crdt.shown import FullPrompt, FullVersion, Prompt
from crdt.textdiff import MOST_STEPS_OF_ALL, Budget, rebased
from crdt.view import View
from server.errors import AlreadyThere, Damaged, Gone, PreconditionFailed, ServerError, UnknownReference
from server.intents.prompt_json import HISTORY, TEXTS, Shown, prompt_json, version_json

SHOWN_PROBLEMS = 20
"""Problems that an answer lists: it is about something else."""
MAX_DIGITS = 10
"""Of a version's number: what has more is no number, but may be an id."""
REGISTERS = ("title", "description", "category", "favorite", "pinned", "mode", "variables")
"""Fields of a request that are registers of the same name in the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a change is signed with: the device, the time (ms since 1970), and the id of the version that it may make."""

    device: str
    now: int
    version_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A prompt that is to be made. Made `again`, one of that id and time that is there already is it; `only` that may be it."""

    id: str
    fields: Mapping[str, Any]
    stamp: Stamp
    again: bool = False
    only: bool = False


def search(view: View, asked: Query, *, owner_id: UUID, fields: frozenset[str]) -> bytes:
    """A page of the prompts that are asked for, as JSON: the next cursor, how many there are, and what is wrong in the library besides.

    Raises InvalidCursor.
    """
    page = query.run(view, asked)
    listed = [prompt_json(_listed(view, prompt, fields), owner_id, fields) for prompt in page.prompts]
    problems = view.problems[:SHOWN_PROBLEMS]
    return to_json({"prompts": listed, "next_cursor": page.next, "total": page.total, "problems": problems})


def _listed(view: View, prompt: Prompt, fields: frozenset[str]) -> Shown:
    """The prompt with what is asked for: texts and versions are read only then, and the tag is not made at all."""
    has_history = HISTORY in fields
    original, optimized = view.texts(prompt.id) if fields & TEXTS else ("", "")
    return Shown(
        state=FullPrompt(prompt=prompt, original=original, optimized=optimized, examples={}, media=[], etag=""),
        history=view.history(prompt.id) if has_history else (),
        labels=prompt.labels,
    )


def show(view: View, prompt_id: str, *, history: bool = False) -> Shown:
    """One prompt, in the bin or not. Raises Missing."""
    state = _state(view, prompt_id)
    problems = [problem for problem in view.problems if prompt_id in problem][:SHOWN_PROBLEMS]
    if not history:
        return Shown(state=state, problems=problems)
    return Shown(state=state, history=view.history(prompt_id), labels=view.labels(prompt_id), problems=problems)


def versions(view: View, prompt_id: str) -> bytes:
    """All versions of a prompt, newest first, as JSON. Raises Missing."""
    current, labels = _state(view, prompt_id).prompt.current, view.labels(prompt_id)
    return to_json({"versions": [version_json(version, current, labels) for version in view.history(prompt_id)]})


def version(view: View, prompt_id: str, named: str) -> bytes:
    """One version, by its number or its id, and its text, as JSON. Raises Missing."""
    return version_text(view, required(view, prompt_id, None), named_version(view, prompt_id, named))


def named_version(view: View, prompt_id: str, named: str) -> FullVersion:
    """A version by its number or its id. Raises Missing."""
    found = view.version(prompt_id, int(named) if named.isdecimal() and len(named) < MAX_DIGITS else named)
    if found is None:
        raise Missing("no such version")
    return found


def version_text(view: View, state: FullPrompt, version: FullVersion) -> bytes:
    """A version with its text, as JSON."""
    prompt = state.prompt
    return to_json(version_json(version.version, prompt.current, view.labels(prompt.id)) | {"text": version.text})


def create(view: View, draft: Draft) -> FullPrompt:
    """Make a prompt, as the last one. Raises AlreadyThere, UnknownReference."""
    (made,) = create_all(view, [draft])
    if isinstance(made, Exception):
        raise made
    return made


def create_all(view: View, drafts: Sequence[Draft]) -> list[FullPrompt | Exception]:
    """Make prompts in one transaction, after all that are there; what became of each, AlreadyThere and UnknownReference among it."""
    made: dict[str, NewPrompt] = {}
    refused: dict[int, Exception] = {}
    place = max((prompt.order for prompt in view.prompts()), default=None)
    for number, draft in enumerate(drafts):
        try:
            there = view.prompt(draft.id)
            if draft.id in made or there is not None:
                if not draft.again or there is None or there.created_at != draft.stamp.now:
                    raise AlreadyThere
                continue
            if draft.only:
                raise Gone
            _check_category(view, draft.fields.get("category"))
        except ServerError as error:
            refused[number] = error
            continue
        place = between(place, None)
        made[draft.id] = _new_prompt(draft, place)

    def make() -> None:
        for prompt in made.values():
            operations.register_tags(view.library, prompt.tags, at=prompt.created_at)
            operations.create_prompt(view.library, prompt)

    view.library.edit(make)
    return [refused[number] if number in refused else _state(view, draft.id) for number, draft in enumerate(drafts)]


def change(
    view: View,
    prompt_id: str,
    fields: Mapping[str, Any],
    stamp: Stamp,
    if_match: Collection[str] | None,
    budget: Budget | None = None,
) -> FullPrompt:
    """Set these fields of a prompt, each by as little as says it, within a budget of steps that several changes may share.

    Raises Missing, UnknownReference; Damaged where a client has written a part of it wrongly; PreconditionFailed.
    """
    if view.version(prompt_id, stamp.version_id) is not None:
        return _state(view, prompt_id)  # it is this request that has made it, and its answer was lost
    _set(view, required(view, prompt_id, if_match), fields, stamp, budget or Budget(MOST_STEPS_OF_ALL))
    return _state(view, prompt_id)


def compares_texts(fields: Mapping[str, Any]) -> bool:
    """Whether setting these fields has texts compared: each takes up to a quarter of a second, which is too long where others wait."""
    return any(fields.get(name) for name in ("original_text", "optimized_text", "base"))


def delete(view: View, prompt_id: str, now: int, *, purge: bool, if_match: Collection[str] | None) -> None:
    """Put a prompt into the bin; where `purge` is asked for, destroy it with its history. Raises Missing, PreconditionFailed."""
    state = required(view, prompt_id, if_match)
    if purge:
        operations.purge_prompt(view.library, prompt_id)
    elif state.prompt.deleted_at is None:
        operations.delete_prompt(view.library, prompt_id, now)


def required(view: View, prompt_id: str, if_match: Collection[str] | None) -> FullPrompt:
    """The prompt, if it has one of these tags. Raises Missing, PreconditionFailed."""
    state = _state(view, prompt_id)
    if if_match is not None and "*" not in if_match and state.etag not in if_match:
        raise PreconditionFailed(state)
    return state


def restore(view: View, prompt_id: str, if_match: Collection[str] | None) -> FullPrompt:
    """Take a prompt out of the bin. Raises Missing, PreconditionFailed."""
    if required(view, prompt_id, if_match).prompt.deleted_at is not None:
        operations.restore_prompt(view.library, prompt_id)
    return _state(view, prompt_id)


# --- below


def _state(view: View, prompt_id: str) -> FullPrompt:
    state = view.full(prompt_id)
    if state is None:
        raise Missing(f"no prompt {prompt_id}")
    return state


def _new_prompt(draft: Draft, order: str) -> NewPrompt:
    fields, stamp = draft.fields, draft.stamp
    text, model = fields.get("optimized_text", ""), fields.get("model_used")
    return NewPrompt(
        id=draft.id,
        title=fields["title"],
        created_at=stamp.now,
        device=stamp.device,
        order=order,
        original=fields.get("original_text", ""),
        description=fields.get("description", ""),
        tags=fields.get("tags", ()),
        category=fields.get("category"),
        mode=Mode(fields.get("mode", Mode.BASIC_SYSTEM)),
        version=_new_version(text, model, None, fields, stamp) if text or model or fields.get("note") else None,
        more={name: fields[name] for name in ("favorite", "pinned", "variables") if name in fields},
    )


def _set(view: View, state: FullPrompt, fields: Mapping[str, Any], stamp: Stamp, budget: Budget) -> None:
    prompt, library = state.prompt, view.library
    filed, category = view.filed(prompt.id)  # what is written counts, not what is shown of it
    written = {name: getattr(prompt, name) for name in REGISTERS} | {"category": category}
    registers = {name: fields[name] for name in REGISTERS if name in fields and not same(fields[name], written[name])}
    _check_category(view, registers.get("category"))
    makes_version = _makes_version(state, fields)
    original = _merged("original_text", fields, state.original, budget)
    text = fields.get("optimized_text", state.optimized)
    if not makes_version:
        text = _merged("optimized_text", fields, state.optimized, budget)
    add, remove = _retagged(view, filed, fields["tags"]) if "tags" in fields else ([], [])
    retypes, edits = original != state.original, text != state.optimized and not makes_version
    if not (registers or add or remove or makes_version or retypes or edits):
        return
    try:
        operations.check_prompt(library, prompt.id, original=retypes, tags=bool(add or remove), version=prompt.current if edits else None)
    except Missing as error:
        raise Damaged(error.reason) from error

    def write() -> None:
        operations.set_fields(library, prompt.id, registers | {"touched_at": max(stamp.now, prompt.touched_at)})
        if retypes:
            operations.edit_original(library, prompt.id, original, budget)
        if makes_version:
            model = fields.get("model_used", prompt.model)
            operations.add_version(library, prompt.id, _new_version(text, model, prompt.current, fields, stamp))
        elif edits and prompt.current is not None:
            operations.edit_version(library, prompt.current, text, budget)
        if add or remove:
            operations.register_tags(library, fields["tags"], at=stamp.now)
            operations.change_tags(library, prompt.id, add=add, remove=remove)

    library.edit(write)


def _merged(name: str, fields: Mapping[str, Any], there: str, budget: Budget) -> str:
    """The text that is there once what is asked for is done: all of it, or what differs from the base that it was made from."""
    if name not in fields:
        return there
    base = fields.get("base", {}).get(name)
    return str(fields[name]) if base is None else rebased(base, fields[name], there, budget)


def _makes_version(state: FullPrompt, fields: Mapping[str, Any]) -> bool:
    """Whether the text is a result of its own: of a model, one that something is said of, the first one, or because it is asked for."""
    prompt = state.prompt
    is_other = fields.get("optimized_text", state.optimized) != state.optimized
    by_model = "model_used" in fields and (is_other or fields["model_used"] != prompt.model)
    return bool(fields.get("new_version") or fields.get("note") or by_model or (is_other and prompt.current is None))


def _retagged(view: View, filed: Collection[str], wanted: Collection[str]) -> tuple[list[str], list[str]]:
    """The tags to add, and the keys to take away: what is filed under another name of a tag that is wanted stays."""
    keys = {view.tag_key(tag): tag for tag in wanted}
    have = {key: view.tag_key(key) for key in filed}
    return [tag for key, tag in keys.items() if key not in have.values()], [key for key, shown in have.items() if shown not in keys]


def _new_version(text: str, model: str | None, parent: str | None, fields: Mapping[str, Any], stamp: Stamp) -> NewVersion:
    return NewVersion(
        id=stamp.version_id,
        text=text,
        kind="optimize" if fields.get("model_used") else "edit",
        at=stamp.now,
        device=stamp.device,
        parent=parent,
        note=fields.get("note", ""),
        more={"model": model} if model else {},
    )


def _check_category(view: View, category_id: str | None) -> None:
    if category_id is not None and not view.has_category(category_id):
        raise UnknownReference("category")
