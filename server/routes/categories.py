"""`/api/categories`: what prompts are filed under."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.intents import filing, filing_json
from server.intents.filing_json import category_json
from server.problems import fails
from server.routes.at import READS, WRITES, At
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.json_answers import Json
from server.routes.texts import MAX_ID, Body, Color, Description, Id, Known, Name, without_defaults
from server.times import ms

router = APIRouter(prefix="/api/categories", tags=["categories"], route_class=CreatingRoute)

CategoryId = Annotated[str, Path(min_length=1, max_length=MAX_ID)]


class NewCategory(Body):
    """A category to be made, as the last one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Reports", "color": "#5b8def"}]})

    name: Name
    description: Description = ""
    color: Color | None = None
    parent: Known | None = Field(None, description="the category that it is below")
    id: Id | None = Field(None, description="if the client has minted one")


class CategoryPatch(Body):
    """The fields of a category that change."""

    model_config = ConfigDict(json_schema_extra=without_defaults())

    name: Name = "-"
    description: Description = ""
    color: Color | None = None
    parent: Known | None = None
    after: Annotated[str, StringConstraints(max_length=MAX_ID)] = Field(
        "", description="the category that it comes after; empty: it is the first"
    )


class CategoryView(BaseModel):
    """A category."""

    id: str
    name: str
    description: str
    color: str | None
    parent: str | None = Field(description="null also where it is gone")
    order: str = Field(description="its place: compared as a string, equal ones by id")
    prompts: int = Field(description="how many are in it and not in the bin")
    created_at: datetime
    deleted_at: datetime | None


class CategoryList(BaseModel):
    """Categories by their places."""

    categories: list[CategoryView]


@router.get("", responses=fails(**READS), response_model=CategoryList)
async def list_all(at: At, deleted: Annotated[bool, Query(description="those in the bin instead")] = False) -> Response:
    """All categories."""
    return Response(await at.read(partial(filing_json.categories, deleted=deleted)), media_type="application/json")


@router.post("", status_code=201, responses=fails(already_there=409, unknown_reference=422, **WRITES, **ONCE), response_model=CategoryView)
async def create(body: NewCategory, at: At, claim: Claimed) -> Response:
    """Make a category."""
    category_id = str(body.id or claim.id_for(0))
    fields = body.model_dump(exclude={"id"})
    edited = await at.edit(
        partial(filing.create_category, category_id=category_id, fields=fields, now=ms(claim.now), again=body.id is None or claim.is_keyed)
    )
    return Json(category_json(edited.answer), status=201, headers={"Location": at.address(f"/api/categories/{category_id}")})


@router.get("/{category_id}", responses=fails(**READS), response_model=CategoryView)
async def get(category_id: CategoryId, at: At) -> Response:
    """One category, in the bin or not."""
    return Json(category_json(await at.read(partial(filing.category, category_id=category_id))))


@router.patch("/{category_id}", responses=fails(unknown_reference=422, **WRITES), response_model=CategoryView)
async def patch(category_id: CategoryId, body: CategoryPatch, at: At) -> Response:
    """Set some fields of a category."""
    fields: dict[str, Any] = body.model_dump(exclude_unset=True)
    return Json(category_json((await at.edit(partial(filing.change_category, category_id=category_id, fields=fields))).answer))


@router.delete("/{category_id}", status_code=204, responses=fails(**WRITES, **ONCE))
async def delete(category_id: CategoryId, at: At, claim: Claimed) -> Response:
    """Put a category into the bin. Its prompts stay, and show as having none."""
    await at.edit(partial(filing.delete_category, category_id=category_id, now=ms(claim.now)))
    return Response(status_code=204)


@router.post("/{category_id}/restore", responses=fails(**WRITES), response_model=CategoryView)
async def restore(category_id: CategoryId, at: At) -> Response:
    """Take a category out of the bin: the prompts that name it are in it again."""
    return Json(category_json((await at.edit(partial(filing.restore_category, category_id=category_id))).answer))
