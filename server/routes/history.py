"""`/api/prompts/{id}/history`: the versions of a prompt."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict

from server.intents import prompts, versions
from server.intents.versions import Written
from server.problems import fails
from server.routes.at import READS, At, AtLibrary
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.etags import IfMatch, quoted, wanted
from server.routes.prompt_bodies import Note
from server.routes.prompt_views import VersionList, VersionText
from server.routes.prompts import CHANGES, PromptId, changed, stamp_of
from server.routes.texts import MAX_ID, Body, PromptText

router = APIRouter(prefix="/api/prompts/{prompt_id}/history", tags=["prompts"], route_class=CreatingRoute)

VersionName = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="its number, or its id")]
_MAKES = {"damaged": 409, **CHANGES, **ONCE}


class NewVersionBody(Body):
    """A version to be made by hand; without a text it is what the prompt is now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "# Role\nYou write reports.", "note": "by hand"}]})

    text: PromptText | None = None
    note: Note = ""


class RestoreBody(Body):
    """What is said of the new version."""

    note: Note = ""


@router.get("", responses=fails(**READS), response_model=VersionList)
async def history(prompt_id: PromptId, at: At) -> Response:
    """A prompt's versions, newest first."""
    return Response(await at.read(partial(prompts.versions, prompt_id=prompt_id)), media_type="application/json")


@router.post("", status_code=201, responses=fails(**_MAKES), response_model=VersionText)
async def make(prompt_id: PromptId, body: NewVersionBody, at: At, claim: Claimed, if_match: IfMatch = None) -> Response:
    """Make a version, which is the current one then: what is typed from then on is typed into it, and the one before stays as it is."""
    change = partial(
        versions.make,
        prompt_id=prompt_id,
        text=body.text,
        note=body.note,
        stamp=stamp_of(at, claim, 0),
        only=claim.was_done,
        if_match=wanted(if_match),
    )
    return await changed(at, change, if_match, lambda written: _made(written, prompt_id, at))


@router.get("/{version}", responses=fails(**READS), response_model=VersionText)
async def one(prompt_id: PromptId, at: At, version: VersionName) -> Response:
    """One version with its text."""
    return Response(await at.read(partial(prompts.version, prompt_id=prompt_id, named=version)), media_type="application/json")


@router.post("/{version}/restore", status_code=201, responses=fails(**_MAKES), response_model=VersionText)
async def restore(
    prompt_id: PromptId, version: VersionName, at: At, claim: Claimed, body: RestoreBody | None = None, if_match: IfMatch = None
) -> Response:
    """Make a version of an older one's text, and use it. What is in between stays in the history."""
    change = partial(
        versions.restore,
        prompt_id=prompt_id,
        named=version,
        note=body.note if body is not None else "",
        stamp=stamp_of(at, claim, 0),
        only=claim.was_done,
        if_match=wanted(if_match),
    )
    return await changed(at, change, if_match, lambda written: _made(written, prompt_id, at))


@router.delete("/{version}", status_code=204, responses=fails(is_current=409, **CHANGES))
async def remove(prompt_id: PromptId, version: VersionName, at: At, if_match: IfMatch = None) -> Response:
    """Destroy a version that is not the current one, with its text and the labels at it. What is typed into it meanwhile goes too."""
    change = partial(versions.remove, prompt_id=prompt_id, named=version, if_match=wanted(if_match))
    return await changed(at, change, if_match, done)


def done(etag: str) -> Response:
    """Nothing but the prompt's tag."""
    return Response(status_code=204, headers={"ETag": quoted(etag)})


def _made(written: Written, prompt_id: str, at: AtLibrary) -> Response:
    headers = {"ETag": quoted(written.etag), "Location": at.address(f"/api/prompts/{prompt_id}/history/{written.id}")}
    return Response(written.content, 201, headers, media_type="application/json")
