"""`/api/categories`: what prompts are filed under."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.intents import filing
from server.intents.filing import Filed
from server.problems import fails
from server.routes.at import READS, WRITES, At
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.texts import MAX_ID, Body, Color, Description, Id, Known, Name, without_defaults
from server.times import moment, ms

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

    @classmethod
    def of(cls, filed: Filed) -> "CategoryView":
        category = filed.category
        return cls(
            id=category.id,
            name=category.name,
            description=category.description,
            color=category.color,
            parent=category.parent,
            order=category.order,
            prompts=filed.prompts,
            created_at=moment(category.created_at),
            deleted_at=None if category.deleted_at is None else moment(category.deleted_at),
        )


class CategoryList(BaseModel):
    """Categories by their places."""

    categories: list[CategoryView]


@router.get("", responses=fails(**READS))
async def list_all(at: At, deleted: Annotated[bool, Query(description="those in the bin instead")] = False) -> CategoryList:
    """All categories."""
    found = await at.read(partial(filing.categories, deleted=deleted))
    return CategoryList(categories=[CategoryView.of(each) for each in found])


@router.post("", status_code=201, responses=fails(already_there=409, unknown_reference=422, **WRITES, **ONCE))
async def create(body: NewCategory, at: At, claim: Claimed, response: Response) -> CategoryView:
    """Make a category."""
    category_id = str(body.id or claim.id_for(0))
    fields = body.model_dump(exclude={"id"})
    edited = await at.edit(
        partial(filing.create_category, category_id=category_id, fields=fields, now=ms(claim.now), again=body.id is None or claim.is_keyed)
    )
    response.headers["Location"] = at.address(f"/api/categories/{category_id}")
    return CategoryView.of(edited.answer)


@router.get("/{category_id}", responses=fails(**READS))
async def get(category_id: CategoryId, at: At) -> CategoryView:
    """One category, in the bin or not."""
    return CategoryView.of(await at.read(partial(filing.category, category_id=category_id)))


@router.patch("/{category_id}", responses=fails(unknown_reference=422, **WRITES))
async def patch(category_id: CategoryId, body: CategoryPatch, at: At) -> CategoryView:
    """Set some fields of a category."""
    fields: dict[str, Any] = body.model_dump(exclude_unset=True)
    return CategoryView.of((await at.edit(partial(filing.change_category, category_id=category_id, fields=fields))).answer)


@router.delete("/{category_id}", status_code=204, responses=fails(**WRITES, **ONCE))
async def delete(category_id: CategoryId, at: At, claim: Claimed) -> Response:
    """Put a category into the bin. Its prompts stay, and show as having none."""
    await at.edit(partial(filing.delete_category, category_id=category_id, now=ms(claim.now)))
    return Response(status_code=204)


@router.post("/{category_id}/restore", responses=fails(**WRITES))
async def restore(category_id: CategoryId, at: At) -> CategoryView:
    """Take a category out of the bin: the prompts that name it are in it again."""
    return CategoryView.of((await at.edit(partial(filing.restore_category, category_id=category_id))).answer)
