"""`/api/prompts/{id}/history`: the versions of a prompt."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response

from server.intents import prompts
from server.intents.prompt_json import version_json
from server.problems import fails
from server.routes.at import READS, At
from server.routes.body import StrictRoute
from server.routes.json_answers import Json
from server.routes.prompt_views import VersionList, VersionText
from server.routes.prompts import PromptId
from server.routes.texts import MAX_ID

router = APIRouter(prefix="/api/prompts/{prompt_id}/history", tags=["prompts"], route_class=StrictRoute)


@router.get("", responses=fails(**READS), response_model=VersionList)
async def history(prompt_id: PromptId, at: At) -> Response:
    """A prompt's versions, newest first."""
    found = await at.read(partial(prompts.versions, prompt_id=prompt_id))
    return Json({"versions": [version_json(version, found.current, found.labels) for version in found.versions]})


@router.get("/{version}", responses=fails(**READS), response_model=VersionText)
async def one(
    prompt_id: PromptId, at: At, version: Annotated[str, Path(min_length=1, max_length=MAX_ID, description="its number, or its id")]
) -> Response:
    """One version with its text."""
    found = await at.read(partial(prompts.version, prompt_id=prompt_id, named=version))
    return Json(version_json(found.versions[0], found.current, found.labels) | {"text": found.text})
