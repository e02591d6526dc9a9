"""`/api/templates`: the user's own templates, by which models are asked."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.intents import templates_json, workbench
from server.intents.templates_json import template_json
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, WRITES, At
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.json_answers import Json
from server.routes.texts import MAX_ID, Body, Description, Id, Name, PromptText, without_defaults
from server.times import ms

router = APIRouter(prefix="/api/templates", tags=["templates"], route_class=CreatingRoute)

MAX_MESSAGES = 100
"""Messages of one template. Past it: 422."""
TemplateId = Annotated[str, Path(min_length=1, max_length=MAX_ID)]
Kind = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,49}$")]
"""What a template is for (`optimize`, `userOptimize`, `iterate`, …): clients know more kinds than this server does."""
Language = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$")]
"""A language tag (BCP 47): `en`, `zh-CN`."""


class Message(Body):
    """One message of a template."""

    role: Literal["system", "user", "assistant"]
    content: PromptText


class NewTemplate(Body):
    """A template to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Make it short", "type": "optimize", "language": "en", "content": "Shorten this: {{text}}"}]
        }
    )

    name: Name
    type: Kind = "optimize"
    language: Language = "en"
    content: PromptText | Annotated[list[Message], Field(max_length=MAX_MESSAGES)] = ""
    description: Description = ""
    id: Id | None = Field(None, description="if the client has minted one")


class TemplatePatch(Body):
    """The fields of a template that change."""

    model_config = ConfigDict(json_schema_extra=without_defaults())

    name: Name = "-"
    type: Kind = "optimize"
    language: Language = "en"
    content: PromptText | Annotated[list[Message], Field(max_length=MAX_MESSAGES)] = ""
    description: Description = ""


class TemplateView(BaseModel):
    """A template."""

    id: str
    name: str
    type: str
    language: str
    content: Any = Field(description="a text, or a list of messages with `role` and `content`")
    description: str
    updated_at: datetime | None = Field(description="null of the server's own")
    deleted_at: datetime | None


class TemplateList(BaseModel):
    """Templates, by name."""

    templates: list[TemplateView]


@router.get("", responses=fails(**READS), response_model=TemplateList)
async def list_all(
    at: At,
    type: Annotated[Kind | None, Query()] = None,
    language: Annotated[Language | None, Query()] = None,
    deleted: Annotated[bool, Query(description="those in the bin instead")] = False,
    builtin: Annotated[bool, Query(description="the server's own instead, which every library can use and none has")] = False,
) -> Response:
    """The templates that fit."""
    if builtin:
        return Json({"templates": templates_json.builtin_templates(type=type, language=language)})
    found = partial(templates_json.templates, type=type, language=language, deleted=deleted)
    return Response(await at.read(found), media_type="application/json")


@router.post("", status_code=201, responses=fails(already_there=409, **WRITES, **ONCE), response_model=TemplateView)
async def create(body: NewTemplate, at: At, claim: Claimed) -> Response:
    """Make a template."""
    template_id = str(body.id or claim.id_for(0))
    fields, again = body.model_dump(exclude={"id"}), body.id is None or claim.is_keyed
    edited = await at.edit(partial(workbench.create_template, template_id=template_id, fields=fields, now=ms(claim.now), again=again))
    return Json(template_json(edited.answer), status=201, headers={"Location": at.address(f"/api/templates/{template_id}")})


@router.get("/{template_id}", responses=fails(**READS), response_model=TemplateView)
async def get(template_id: TemplateId, at: At) -> Response:
    """One template, in the bin or not."""
    return Json(template_json(await at.read(partial(workbench.template, template_id=template_id))))


@router.patch("/{template_id}", responses=fails(**WRITES), response_model=TemplateView)
async def patch(template_id: TemplateId, body: TemplatePatch, at: At, services: Served) -> Response:
    """Set some fields of a template."""
    fields: dict[str, Any] = body.model_dump(exclude_unset=True)
    change = partial(workbench.change_template, template_id=template_id, fields=fields, now=ms(services.clock()))
    return Json(template_json((await at.edit(change)).answer))


@router.delete("/{template_id}", status_code=204, responses=fails(**WRITES))
async def delete(template_id: TemplateId, at: At, services: Served) -> Response:
    """Put a template into the bin."""
    await at.edit(partial(workbench.delete_template, template_id=template_id, now=ms(services.clock())))
    return Response(status_code=204)


@router.post("/{template_id}/restore", responses=fails(**WRITES), response_model=TemplateView)
async def restore(template_id: TemplateId, at: At) -> Response:
    """Take a template out of the bin."""
    return Json(template_json((await at.edit(partial(workbench.restore_template, template_id=template_id))).answer))
