"""What is answered about prompts. Lists are put into JSON at once: a model for each prompt would take longer than finding them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from crdt.library import Mode


class VersionView(BaseModel):
    """A version of a prompt, without its text."""

    id: str
    version: int = Field(description="counted from 1 by time, when it is read: one that comes late from a device moves those after it")
    current: bool
    parent: str | None
    kind: str = Field(description="what made it: `optimize`, `iterate`, `edit`, `restore`, …")
    note: str
    model: str | None
    model_name: str | None
    template: str | None
    device: str
    created_at: datetime
    size: int = Field(description="bytes of its text in UTF-8")
    labels: list[str]


class VersionText(VersionView):
    """A version with its text."""

    text: str


class VersionList(BaseModel):
    """A prompt's versions, newest first."""

    versions: list[VersionView]


class PromptView(BaseModel):
    """A prompt."""

    id: str
    user_id: UUID = Field(description="who owns the library")
    title: str
    description: str
    original_text: str
    optimized_text: str = Field(description="the current version's")
    tags: list[str]
    category: str | None
    favorite: bool
    pinned: bool
    mode: Mode
    order: str = Field(description="its place among the prompts: compared as a string, equal ones by id")
    uses: int
    model_used: str | None
    variables: dict[str, Any]
    version_id: str | None = Field(description="the current version's")
    created_at: datetime
    updated_at: datetime = Field(description="when somebody last left it after an edit, or its newest version was made")
    deleted_at: datetime | None = Field(description="since when it is in the bin")


class FullPromptView(PromptView):
    """A prompt, and what was asked for besides it."""

    optimization_history: list[VersionView] | None = Field(None, description="newest first; only where `fields` names it")
    problems: list[str] | None = Field(None, description="what a client has written wrongly in it: where, and what")


PromptPart = create_model(
    "PromptPart",
    __doc__="A prompt, or those of its fields that were asked for.",
    **{name: (kind.annotation | None, None) for name, kind in FullPromptView.model_fields.items() if kind.annotation is not None},  # type: ignore[call-overload]
)


class PromptList(BaseModel):
    """A page of prompts."""

    prompts: list[PromptPart]  # type: ignore[valid-type]
    next_cursor: str | None = Field(description="asks for what comes after these; null: that was all")
    total: int = Field(description="how many there are over all pages")
    problems: list[str] = Field(description="what clients have written wrongly in this library, as far as it was met: where, and what")


class ResultView(BaseModel):
    """What became of one operation of a batch."""

    id: str
    status: int = Field(description="as if it had been a request of its own; 424: it was not done, since another was refused")
    code: str | None = Field(description="the code of the refusal")
    etag: str | None = Field(description="the prompt's tag now, without quotes")


class BatchView(BaseModel):
    """What became of the operations of a batch, in their order."""

    results: list[ResultView]
    seq: int = Field(description="where the library stands now that they are committed")
