"""What a View shows of a library: plain values, frozen. Lists and dicts in them are the View's own, and not to be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdt.library import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a prompt; `number` counts them from 1, by time and id."""

    id: str
    prompt: str
    number: int
    parent: str | None
    kind: str
    note: str
    model: str | None
    model_name: str | None
    template: str | None
    device: str
    at: int
    bytes: int
    """Of its text, in UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullVersion:
    """A version with what a list of them leaves out."""

    version: Version
    text: str
    input: str | None
    params: Any
    usage: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt without its texts."""

    id: str
    title: str
    description: str
    tags: tuple[str, ...]
    """As they are shown, sorted; merged ones under their new name."""
    category: str | None
    """None also where the category it names is gone."""
    mode: Mode
    favorite: bool
    pinned: bool
    order: str
    variables: dict[str, Any]
    messages: list[Any] | None
    source: Any
    current: str | None
    """The version that is used: the newest where the one it names is not there."""
    model: str | None
    """Of that version."""
    versions: int
    """How many there are."""
    labels: dict[str, str]
    """Each label's version; those of versions that are gone are left out."""
    uses: int
    created_at: int
    touched_at: int
    updated_at: int
    """The newest of `touched_at` and its versions' times."""
    deleted_at: int | None
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPrompt:
    """Everything of a prompt but its history."""

    prompt: Prompt
    original: str
    optimized: str
    """The text of the current version; empty before the first one."""
    examples: dict[str, Any]
    media: list[Any]
    etag: str
    """32 hex digits: the same in every process for the same content, another one where anything that is shown has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePrompt:
    """A prompt with everything that is its own, as it is written: what a copy of it needs."""

    prompt: Prompt
    original: str
    examples: dict[str, Any]
    media: list[Any]
    tags: tuple[str, ...]
    """The keys that it is filed under, sorted; before merges."""
    category: str | None
    """As it is named, whatever has become of it."""
    uses: dict[str, int]
    """By device."""
    versions: list[FullVersion]
    """Oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A category; `parent` is None also where it is not there, or where following parents would lead in a circle."""

    id: str
    name: str
    description: str
    color: str | None
    parent: str | None
    order: str
    created_at: int
    deleted_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tag that is registered, or that a prompt has."""

    key: str
    label: str
    color: str | None
    count: int
    """Prompts that have it and are not in the bin; those filed under a tag that was merged into it too."""
    created_at: int
    """0 for one that was never registered."""
    merged_into: str | None
    """The key of the tag that it is shown as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    id: str
    name: str
    type: str
    language: str
    content: Any
    """A string, or a list of messages."""
    description: str
    updated_at: int
    deleted_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A conversation, with its variables and tools."""

    id: str
    title: str
    mode: str
    order: str
    updated_at: int
    deleted_at: int | None
    messages: list[Any]
    variables: dict[str, Any]
    tools: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """How a model is called. The key is elsewhere."""

    id: str
    name: str
    enabled: bool
    provider: str
    model: str
    base_url: str
    request_style: str
    params: dict[str, Any]
    capabilities: dict[str, Any]
    key_ref: dict[str, Any] | None
    """Where the key is: `mode` (server, e2e or device), and `secret_id` and `hint`, or what an end-to-end encrypted one needs."""
    created_at: int | None
    updated_at: int | None
    """Times in ms since 1970; None where whoever wrote it did not say."""
