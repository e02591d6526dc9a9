"""What an improvement of a prompt needs of a library's document, and the one edit that keeps it. Both run where the document lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from crdt import operations
from crdt.operations import NewVersion
from crdt.shown import FullPrompt, FullVersion, ModelConfig
from crdt.view import View
from server.ai.builtin_templates import IDS, Mode
from server.errors import Gone, UnknownReference
from server.intents.prompt_json import version_json
from server.intents.prompts import named_version, required


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for, as far as the document knows of it; without a prompt, nothing is looked up of one."""

    mode: Mode
    prompt_id: str | None = None
    template_id: str | None = None
    base_version_id: str | None = None
    version_id: str = ""
    """That of the version which will be made: where it is there, an earlier attempt has made it."""
    config_id: str | None = None
    """The model that is called: the preferences' where none is named."""
    has_configs: bool = False
    """This is the library that the asking user's configurations are in."""
    only: bool = False
    """It has been made: where it is not there, it was destroyed since."""


class Kept(NamedTuple):
    """A version that was made: as JSON has it, its text and what it was made from, what was noted of the call, and the prompt's tag now."""

    version: Mapping[str, Any]
    text: str
    base: str
    usage: Any
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the document has for it."""

    original: str = ""
    text: str = ""
    """What is improved unless another text is sent."""
    parent: str | None = None
    template: Any = None
    """The content of the user's own template, if one is named."""
    template_name: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    preferences: Mapping[str, Any] = field(default_factory=dict)
    config: ModelConfig | None = None
    """The configuration of the model that is called, where it is in this library."""
    kept: Kept | None = None
    """What an earlier attempt has made."""


PREFERENCES = ("default_model", "template_language")


def preferences(view: View) -> Mapping[str, Any]:
    """The preferences that say how prompts are improved."""
    written = view.preferences()
    return {name: written[name] for name in PREFERENCES if isinstance(written.get(name), str)}


def material(view: View, wanted: Wanted) -> Material:
    """What there is. Raises Missing, UnknownReference, Gone."""
    template = _template(view, wanted.template_id)
    preferred = preferences(view)
    config_id = wanted.config_id or preferred.get("default_model")
    config = view.model(config_id) if wanted.has_configs and config_id else None
    found = Material(variables=view.variables(), preferences=preferred, config=config, **template)
    if wanted.prompt_id is None:
        return found
    if view.version(wanted.prompt_id, wanted.version_id) is not None:
        return Material(kept=_kept(view, wanted.prompt_id, wanted.version_id))
    state = required(view, wanted.prompt_id, None)
    if wanted.only:
        raise Gone
    base = _base(view, state, wanted.base_version_id)
    current = base.text if base is not None else ""
    is_further = wanted.mode is Mode.ITERATE or wanted.base_version_id is not None
    first, second = (current, state.original) if is_further else (state.original, current)
    return replace(
        found,
        original=state.original,
        text=first if first.strip() else second,
        parent=base.version.id if base is not None else None,
    )


def keep(view: View, prompt_id: str, made: NewVersion) -> Kept:
    """Make a version of a result and use it; made before, it is it. Raises Missing: the prompt is gone."""
    if view.version(prompt_id, made.id) is None:
        prompt = required(view, prompt_id, None).prompt

        def write() -> None:
            operations.set_fields(view.library, prompt_id, {"touched_at": max(made.at, prompt.touched_at)})
            operations.add_version(view.library, prompt_id, made)

        view.library.edit(write)
    return _kept(view, prompt_id, made.id)


def _template(view: View, template_id: str | None) -> dict[str, Any]:
    """The content of a template of the library's own. Raises UnknownReference: it is not there, or in the bin."""
    if template_id is None or template_id in IDS:
        return {}
    for each in view.templates():
        if each.id == template_id and each.deleted_at is None:
            return {"template": each.content, "template_name": each.name}
    raise UnknownReference("template_id")


def _base(view: View, state: FullPrompt, named: str | None) -> FullVersion | None:
    """The version that it goes out from: the current one unless one is named. Raises UnknownReference."""
    version_id = named or state.prompt.current
    found = view.version(state.prompt.id, version_id) if version_id is not None else None
    if found is None and named is not None:
        raise UnknownReference("base_version_id")
    return found


def _kept(view: View, prompt_id: str, version_id: str) -> Kept:
    state, made = required(view, prompt_id, None), named_version(view, prompt_id, version_id)
    base = made.input
    if base is None:
        base = view.text(made.version.parent) if made.version.kind == Mode.ITERATE else state.original
    shown = version_json(made.version, state.prompt.current, view.labels(prompt_id))
    return Kept(shown, made.text, base, made.usage, state.etag)
