"""`/api/tags`: how tags are called, coloured and merged. Which prompts have a tag is said with the prompts."""

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from server.intents import filing, filing_json
from server.intents.filing_json import tag_json
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, WRITES, At
from server.routes.body import StrictRoute
from server.routes.json_answers import Json
from server.routes.texts import MAX_TAG, Body, Color, Tag, without_defaults
from server.times import ms

router = APIRouter(prefix="/api/tags", tags=["tags"], route_class=StrictRoute)

MAX_MERGED = 100
"""Tags that are merged at once. Past it: 422."""
TagKey = Annotated[str, Path(min_length=1, max_length=MAX_TAG, description="the tag, percent-encoded, however it is written")]


class TagPatch(Body):
    """What changes about a tag."""

    model_config = ConfigDict(json_schema_extra=without_defaults())

    label: Tag = Field("-", description="what it is called from now on; the name of another tag merges the two")
    color: Color | None = None


class Merge(Body):
    """Tags that become one."""

    tags: list[Tag] = Field(min_length=1, max_length=MAX_MERGED)
    into: Tag


class TagView(BaseModel):
    """A tag."""

    tag: str = Field(description='its key: normalised, so that "Work " and "work" are one')
    label: str
    color: str | None
    prompts: int = Field(description="how many have it and are not in the bin")
    created_at: datetime | None = Field(description="null: it was never registered, only used")


class TagList(BaseModel):
    """The tags, by their keys."""

    tags: list[TagView]


@router.get("", responses=fails(**READS), response_model=TagList)
async def list_all(at: At) -> Response:
    """All tags that are registered or that a prompt has."""
    return Response(await at.read(filing_json.tags), media_type="application/json")


@router.patch("/{tag:path}", responses=fails(**WRITES), response_model=TagView)
async def patch(tag: TagKey, body: TagPatch, at: At, services: Served) -> Response:
    """Rename or colour a tag. Renamed, it is so on all prompts, and where a device that does not know yet adds it under its old name."""
    label = body.label if "label" in body.model_fields_set else None
    change = partial(
        filing.change_tag, tag=tag, now=ms(services.clock()), label=label, fields=frozenset(body.model_fields_set), color=body.color
    )
    return Json(tag_json((await at.edit(change)).answer))


@router.delete("/{tag:path}", status_code=204, responses=fails(**WRITES))
async def delete(tag: TagKey, at: At) -> Response:
    """Take a tag, and all that was merged with it, off all prompts. Where a device adds it meanwhile it is there again."""
    await at.edit(partial(filing.delete_tag, tag=tag))
    return Response(status_code=204)


@router.post("/merge", responses=fails(**WRITES), response_model=TagView)
async def merge(body: Merge, at: At, services: Served) -> Response:
    """Show tags as another one from now on."""
    change = partial(filing.merge_tags, merged=body.tags, into=body.into, now=ms(services.clock()))
    return Json(tag_json((await at.edit(change)).answer))
