"""`/api/prompts/{id}/history`: the versions of a prompt."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response

from server.intents import prompts
from server.problems import fails
from server.routes.at import READS, At
from server.routes.body import StrictRoute
from server.routes.prompt_views import VersionList, VersionText
from server.routes.prompts import PromptId
from server.routes.texts import MAX_ID

router = APIRouter(prefix="/api/prompts/{prompt_id}/history", tags=["prompts"], route_class=StrictRoute)


@router.get("", responses=fails(**READS), response_model=VersionList)
async def history(prompt_id: PromptId, at: At) -> Response:
    """A prompt's versions, newest first."""
    return Response(await at.read(partial(prompts.versions, prompt_id=prompt_id)), media_type="application/json")


@router.get("/{version}", responses=fails(**READS), response_model=VersionText)
async def one(
    prompt_id: PromptId, at: At, version: Annotated[str, Path(min_length=1, max_length=MAX_ID, description="its number, or its id")]
) -> Response:
    """One version with its text."""
    return Response(await at.read(partial(prompts.version, prompt_id=prompt_id, named=version)), media_type="application/json")
