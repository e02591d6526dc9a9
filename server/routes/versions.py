"""`/api/prompts/{id}/diff`, `/current` and `/labels`: what differs between versions, and which of them is used for what."""

import re
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from server.intents import versions
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, At
from server.routes.body import StrictRoute
from server.routes.etags import IfMatch, wanted
from server.routes.history import done
from server.routes.prompt_views import FullPromptView, VersionView
from server.routes.prompts import CHANGES, PromptId, answer_of, changed
from server.routes.texts import MAX_ID, Body, Known
from server.times import ms

router = APIRouter(prefix="/api/prompts/{prompt_id}", tags=["prompts"], route_class=StrictRoute)

MAX_LABEL = 50
"""Characters of a label's name. Past it: 404, for nothing has such a label."""
_LABEL = re.compile(r"\w[\w.-]*")


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise PydanticCustomError("label", "is no name that a label can have")
    return text


LabelName = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_LABEL),
    AfterValidator(_label),
    Path(description="letters and digits of any script, and `_`, `.` or `-` after the first"),
]
Compared = Annotated[str | None, Query(min_length=1, max_length=MAX_ID, description="a version's number or its id, or `original`")]


class Version(Body):
    """Which version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "01a215b1-c612-7000-be9e-c7cf3d802e5e"}]})

    version: Known = Field(
        description="its id, or its number: a version that comes late from a device moves those after it, so say `If-Match`"
    )


class SegmentView(BaseModel):
    """A part of the old text, of the new one, or of both."""

    op: Literal["equal", "insert", "delete"]
    text: str


class DiffView(BaseModel):
    """What differs between two texts of a prompt."""

    from_: VersionView | None = Field(alias="from", description="null: the original")
    to: VersionView | None = Field(description="null: the original")
    unified: list[str] = Field(description="a unified diff, line by line, with three lines around each change; empty where nothing differs")
    segments: list[SegmentView] = Field(
        description="both texts in order, by words, Chinese by characters: without what is inserted it is the old one, without what is "
        "deleted the new one. Where much differs, what is not told apart within a bound of steps is replaced as a whole"
    )


@router.get("/diff", responses=fails(text_too_large=413, **READS), response_model=DiffView)
async def diff(
    prompt_id: PromptId,
    at: At,
    before: Annotated[Compared, Query(alias="from")] = None,
    after: Annotated[Compared, Query(alias="to")] = None,
) -> Response:
    """What differs between two versions: without `to` it is the current one, without `from` the one before that."""
    found = partial(versions.diff, prompt_id=prompt_id, before=before, after=after)
    return Response(await at.read(found, away=True), media_type="application/json")


@router.put("/current", responses=fails(unknown_reference=422, **CHANGES), response_model=FullPromptView)
async def choose(prompt_id: PromptId, body: Version, at: At, services: Served, if_match: IfMatch = None) -> Response:
    """Use an older version again, without making a new one."""
    now = ms(services.clock())
    change = partial(versions.choose, prompt_id=prompt_id, named=body.version, now=now, if_match=wanted(if_match))
    return await changed(at, change, if_match, lambda state: answer_of(state, at))


@router.put("/labels/{label}", status_code=204, responses=fails(too_many=409, unknown_reference=422, **CHANGES))
async def put_label(prompt_id: PromptId, label: LabelName, body: Version, at: At, if_match: IfMatch = None) -> Response:
    """Put a label (`production`, say) at a version, wherever it was before."""
    change = partial(versions.label, prompt_id=prompt_id, name=label, named=body.version, if_match=wanted(if_match))
    return await changed(at, change, if_match, done)


@router.delete("/labels/{label:path}", status_code=204, responses=fails(**CHANGES))
async def delete_label(
    prompt_id: PromptId,
    label: Annotated[str, Path(min_length=1, max_length=MAX_ID, description="whatever a client has called it")],
    at: At,
    if_match: IfMatch = None,
) -> Response:
    """Take a label off."""
    change = partial(versions.unlabel, prompt_id=prompt_id, name=label, if_match=wanted(if_match))
    return await changed(at, change, if_match, done)
