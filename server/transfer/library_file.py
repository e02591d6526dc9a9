"""Our own format of a library as a file: everything that it holds but secrets, as JSON. `docs/library-file.md` has it for others.

What other formats hold is translated into this one, and what they are to hold is made from it. Times are ms since 1970, as in the
document; ids are kept, so that the same file is known again wherever it comes.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from crdt.library import Mode
from crdt.plain import writable_text
from crdt.reader import MAX_TIME

FORMAT: Literal["promptsync/library"] = "promptsync/library"
VERSION = 1
"""Raised where a reader of the one before would lose something."""
MAX_ORDER = 200
"""Characters of a place that is taken: those that are made here have four."""
MOST_PROBLEMS = 1_000
"""Problems that a file tells of; of more, the first ones by their places."""


def _whole(value: object) -> int:
    if isinstance(value, float) and isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):  # of any size: what is past all times is told by the field
        raise ValueError("not a whole number")
    return value


Text = Annotated[StrictStr, AfterValidator(writable_text)]
Id = Annotated[Text, Field(min_length=1, max_length=200)]
Order = Annotated[Text, AfterValidator(lambda value: value if len(value) <= MAX_ORDER else "")]
"""A place among others; one that is past all reason is none, since whatever is appended would be longer still."""
Time = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_TIME)]
"""ms since 1970."""


class Item(BaseModel):
    """A part of a file. What is not known is no error: it is told of, and left out."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)


class FileVersion(Item):
    """A version of a prompt, with its text."""

    id: Id
    text: Text
    parent: Id | None = None
    kind: Text = "import"
    note: Text = ""
    device: Text = ""
    at: Time
    model: Text | None = None
    model_name: Text | None = None
    template: Text | None = None
    input: Text | None = None
    params: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class FilePrompt(Item):
    """A prompt with its history, in the bin or not."""

    id: Id
    title: Text = ""
    description: Text = ""
    original: Text = ""
    mode: Mode = Mode.BASIC_SYSTEM
    tags: list[Text] = Field(default_factory=list)
    category: Id | None = None
    favorite: StrictBool = False
    pinned: StrictBool = False
    order: Order = ""
    variables: dict[str, Any] = Field(default_factory=dict)
    messages: list[Any] | None = None
    examples: dict[str, Any] = Field(default_factory=dict)
    media: list[Any] = Field(default_factory=list)
    source: Any = None
    current: Id | None = None
    versions: list[FileVersion] = Field(default_factory=list)
    """Oldest first."""
    labels: dict[str, Id] = Field(default_factory=dict)
    uses: dict[str, StrictInt] = Field(default_factory=dict)
    """By device."""
    created_at: Time
    touched_at: Time
    deleted_at: Time | None = None
    created_by: Text = ""


class FileCategory(Item):
    """A category, in the bin or not."""

    id: Id
    name: Text
    description: Text = ""
    color: Text | None = None
    parent: Id | None = None
    order: Order = ""
    created_at: Time = 0
    deleted_at: Time | None = None


class FileTag(Item):
    """An entry of the registry of tags."""

    tag: Text
    label: Text
    color: Text | None = None
    created_at: Time = 0
    merged_into: Text | None = None


class FileTemplate(Item):
    """A template by which models are asked."""

    id: Id
    name: Text
    type: Text = "optimize"
    language: Text = ""
    content: Text | list[Any] = ""
    description: Text = ""
    updated_at: Time = 0
    deleted_at: Time | None = None


class FileContext(Item):
    """A conversation."""

    id: Id
    title: Text = ""
    mode: Text = ""
    order: Order = ""
    messages: list[Any] = Field(default_factory=list)
    variables: dict[str, Any] = Field(default_factory=dict)
    tools: list[Any] = Field(default_factory=list)
    updated_at: Time = 0
    deleted_at: Time | None = None


class FileModel(Item):
    """How a model is called. Its key is in no file."""

    id: Id
    name: Text = ""
    enabled: StrictBool = True
    provider: Text = ""
    model: Text = ""
    base_url: Text = ""
    request_style: Text = ""
    params: dict[str, Any] = Field(default_factory=dict)
    capabilities: dict[str, Any] = Field(default_factory=dict)


class LibraryFile(Item):
    """A whole library."""

    format: Literal["promptsync/library"] = FORMAT
    version: Literal[1] = 1
    exported_at: Time = 0
    name: Text = ""
    """The library's."""
    prompts: list[FilePrompt] = Field(default_factory=list)
    categories: list[FileCategory] = Field(default_factory=list)
    tags: list[FileTag] = Field(default_factory=list)
    templates: list[FileTemplate] = Field(default_factory=list)
    contexts: list[FileContext] = Field(default_factory=list)
    models: list[FileModel] = Field(default_factory=list)
    variables: dict[str, Text] = Field(default_factory=dict)
    preferences: dict[str, Any] = Field(default_factory=dict)
    device_preferences: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By device."""
    problems: list[Text] = Field(default_factory=list)
    """What is damaged in the library, or was left out of the file; at most MOST_PROBLEMS. Nothing is read from them."""


SECTIONS = ("prompts", "categories", "tags", "templates", "contexts", "models", "variables", "preferences", "device_preferences")
"""What is imported and counted by."""
