"""What requests about prompts carry."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from crdt.library import Mode
from crdt.query import MAX_TERMS, Match, Query, Sort, terms
from server.intents.prompt_json import FIELDS
from server.routes.texts import MAX_ID, Body, Description, Id, Known, Name, PromptText, Tag, Title, without_defaults
from server.routes.values import Values
from server.times import ms

MAX_PAGE = 200
"""Prompts in one answer; more are asked for with `cursor`. Past it: 422."""
MAX_TAGS = 100
"""Tags of one prompt, or asked for at once. Past it: 422."""
MAX_OPERATIONS = 500
"""Operations in one batch. Past it: 422."""

ONLY_READ = frozenset(
    {"id", "user_id", "order", "uses", "version_id", "created_at", "updated_at", "deleted_at", "optimization_history", "problems"}
)
"""What `GET` answers and nobody sets."""

Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
Note = Annotated[Description, Field(max_length=1000, description="what is said of the version, where one is made")]
Model = Annotated[Name, Field(description="the model that made `optimized_text`; another one than before makes a new version")]


class PromptBody(Body):
    """A prompt's fields, set together: what is left out is empty."""

    title: Title
    description: Description = ""
    original_text: PromptText = ""
    optimized_text: PromptText = ""
    tags: Tags = Field(default_factory=list)
    category: Known | None = None
    favorite: StrictBool = False
    pinned: StrictBool = False
    mode: Mode = Mode.BASIC_SYSTEM
    variables: Values = Field(default_factory=dict)
    model_used: Model | None = None
    note: Note = ""

    def fields(self) -> Mapping[str, Any]:
        """All of them. Without a model the text stays that of whoever made it."""
        return _plain(self, set(type(self).model_fields) - {"id", "op"} - ({"model_used"} if self.model_used is None else set()))


class NewPrompt(PromptBody):
    """A prompt to be made. A client that has minted an id (a UUIDv7) gives it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Weekly report", "original_text": "Write a report", "tags": ["Work"]}]}
    )

    id: Id | None = None


class Base(Body):
    """The texts as they were when the client had read them."""

    original_text: PromptText | None = None
    optimized_text: PromptText | None = None


FromBase = Annotated[
    Base | None,
    Field(
        description="the texts that the new ones were made from: only what differs from them is changed in what is there now, so that "
        "what others have typed since stays; without it the texts are as they are sent"
    ),
]


class PutPrompt(PromptBody):
    """A prompt's fields, as `GET` answers them: what may not be set does not count. Without a text the versions stay."""

    optimized_text: PromptText | None = Field(None, description="typed into the current version, or kept as a new one; see PATCH")  # type: ignore[assignment]
    new_version: StrictBool = False
    base: FromBase = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_only_read(cls, body: Any) -> Any:
        return {name: value for name, value in body.items() if name not in ONLY_READ} if isinstance(body, dict) else body

    def fields(self) -> Mapping[str, Any]:
        """All of them but a text that was not given."""
        fields = _based(super().fields(), self.base)
        return {name: value for name, value in fields.items() if name != "optimized_text" or value is not None}


class PromptPatch(Body):
    """The fields of a prompt that change; the others stay as they are."""

    model_config = ConfigDict(json_schema_extra=without_defaults({"title": "Daily report", "favorite": True}))

    title: Title = "-"
    description: Description = ""
    original_text: PromptText = ""
    optimized_text: PromptText = Field(
        "", description="typed into the current version; a new one with `model_used`, `note` or `new_version`"
    )
    tags: Tags = Field(default_factory=list)
    category: Known | None = None
    favorite: StrictBool = False
    pinned: StrictBool = False
    mode: Mode = Mode.BASIC_SYSTEM
    variables: Values = Field(default_factory=dict)
    model_used: Model = "-"
    note: Note = ""
    new_version: StrictBool = Field(False, description="keep the current text as it is, and make a version of the new one")
    base: FromBase = None

    def fields(self) -> Mapping[str, Any]:
        """Those that were given."""
        return _based(_plain(self, self.model_fields_set - {"op", "id", "if_match"}), self.base)


def _based(fields: Mapping[str, Any], base: Base | None) -> Mapping[str, Any]:
    others = {name: value for name, value in fields.items() if name != "base"}
    return others if base is None else others | {"base": base.model_dump(exclude_none=True)}


def _plain(body: BaseModel, names: Iterable[str]) -> Mapping[str, Any]:
    fields = {name: getattr(body, name) for name in names}
    return fields | {"mode": fields["mode"].value} if "mode" in fields else fields


class Create(NewPrompt):
    """Make a prompt."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "create", "title": "Weekly report"}]})

    op: Literal["create"]


class Update(PromptPatch):
    """Change fields of a prompt."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"op": "update", "id": "01a215b1-c612-7000-be9e-c7cf3d802e5e", "favorite": True}]}
    )

    op: Literal["update"]
    id: Known
    if_match: Annotated[str, Field(max_length=200, description="the tag that it must have, without quotes")] | None = None


class Delete(Body):
    """Put a prompt into the bin, or destroy it."""

    op: Literal["delete"]
    id: Known
    purge: bool = False
    if_match: Annotated[str, Field(max_length=200)] | None = None


class Batch(Body):
    """Operations that are carried out in their order and committed together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"operations": [{"op": "create", "title": "One"}, {"op": "delete", "id": "absent"}]}]}
    )

    operations: list[Annotated[Create | Update | Delete, Field(discriminator="op")]] = Field(min_length=1, max_length=MAX_OPERATIONS)
    atomic: bool = Field(False, description="carry out all of them, or none where one is refused")


class Order(StrEnum):
    """What a list is sorted by; with a minus the largest or newest first."""

    UPDATED = "updated_at"
    UPDATED_DOWN = "-updated_at"
    CREATED = "created_at"
    CREATED_DOWN = "-created_at"
    TITLE = "title"
    TITLE_DOWN = "-title"
    ORDER = "order"
    ORDER_DOWN = "-order"
    USES = "uses"
    USES_DOWN = "-uses"


def _names(text: str) -> str:
    if unknown := set(text.split(",")) - FIELDS:
        raise PydanticCustomError("fields", "names {count} that are no fields of a prompt", {"count": len(unknown)})
    return text


def _searchable(text: str) -> str:
    if len(terms(text)) > MAX_TERMS:
        raise PydanticCustomError("search_words", "has more than {most} words", {"most": MAX_TERMS})
    return text


FieldList = Annotated[str, StringConstraints(max_length=500), AfterValidator(_names)]
FIELDS_ASKED: Any = Field(None, description="what is answered, comma separated; without it everything but `optimization_history`")


def _moment(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _text(value: object) -> object:
    if not isinstance(value, str):  # pydantic would take a number for a Unix time, in s or ms as it thinks fit
        raise PydanticCustomError("moment", "is no text with a date and a time")
    return value


Moment = Annotated[datetime, AfterValidator(_moment)]
MomentText = Annotated[Moment, BeforeValidator(_text)]
"""A moment in a body, where it could be a number."""


class Listing(BaseModel):
    """Which prompts are asked for, and how they are answered with."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    library: Id | None = Field(None, description="which library; without it the asking user's own")
    tags: Tags = Field(default_factory=list)
    tags_match: Match = Match.ALL
    category: str | None = Field(None, max_length=MAX_ID, description="with the categories below it; empty: those without one")
    favorite: bool | None = None
    pinned: bool | None = None
    deleted: Literal["false", "true", "any"] = Field("false", description="true: what is in the bin")
    mode: Mode | None = None
    model: str | None = Field(None, max_length=200)
    created_from: Moment | None = None
    created_to: Moment | None = None
    updated_from: Moment | None = None
    updated_to: Moment | None = None
    search: Annotated[str, AfterValidator(_searchable)] = Field(
        "", max_length=200, description="words, all of which occur in the title, description, a current text or a tag"
    )
    sort: Order = Order.UPDATED_DOWN
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, max_length=2000, description="the `next_cursor` of the page before")
    fields: FieldList | None = FIELDS_ASKED

    def query(self) -> Query:
        """The same as the library's view is asked."""
        sort = self.sort.value
        return Query(
            tags=tuple(self.tags),
            tags_match=self.tags_match,
            category=self.category,
            favorite=self.favorite,
            pinned=self.pinned,
            deleted={"false": False, "true": True, "any": None}[self.deleted],
            mode=self.mode,
            model=self.model,
            created_from=_ms(self.created_from),
            created_to=_ms(self.created_to),
            updated_from=_ms(self.updated_from),
            updated_to=_ms(self.updated_to),
            search=self.search,
            sort=Sort(sort.removeprefix("-")),
            descending=sort.startswith("-"),
            limit=self.limit,
            after=self.cursor,
        )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else ms(moment)
