"""`GET /api/prompt-source/{code}`: a shared prompt, for whoever has the code, in the form that the web app imports.

Without an account, from pages of any origin, and without a trace of whose it is. What opens nothing answers alike, whatever the reason.
"""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from crdt.library import Mode
from crdt.operations import Missing
from server.editor import Editor
from server.intents import shares as intents
from server.problems import fails
from server.routes.asking import Served
from server.routes.body import StrictRoute
from server.routes.shares import SOURCE_PATH
from server.routes.texts import MAX_ID
from server.services import Services
from server.share_links import is_code
from storage import shares
from storage.errors import NotFound

router = APIRouter(prefix=SOURCE_PATH, tags=["shares"], route_class=StrictRoute)


class Target(BaseModel):
    """Where the app puts it."""

    subModeKey: Mode


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class Content(BaseModel):
    """The prompt itself: a `text`, or `messages`."""

    format: Literal["text", "messages"]
    text: str | None = None
    messages: list[Message] | None = None


class Variable(BaseModel):
    """What is filled in for `{{name}}`."""

    name: str
    description: str | None = None
    type: str | None = None
    required: bool | None = None
    defaultValue: str | None = None
    options: list[str] | None = None


class Meta(BaseModel):
    """How it is filed."""

    title: str
    description: str
    tags: list[str]
    categoryKey: str | None = Field(None, description="what its category is called")


class PromptSource(BaseModel):
    """A shared prompt."""

    schema_: Literal["prompt-garden.prompt.v1"] = Field(alias="schema")
    schemaVersion: Literal[1]
    importCode: str
    optimizerTarget: Target
    prompt: Content
    variables: list[Variable]
    meta: Meta


@router.get(
    "/{code}",
    responses=fails(not_found=404, too_many_attempts=429, document_too_large=413, too_costly=413, try_later=503, unavailable=503),
    response_model=PromptSource,
)
async def get(code: Annotated[str, Path(min_length=1, max_length=MAX_ID)], services: Served, request: Request) -> Response:
    """The prompt that is shared by this code. 404: there is no such link, or it has ended, or the prompt is not there at the moment."""
    reads, address = services.shared_reads, services.address_of(request)
    reads.attempt(address)
    try:
        answer = await _read(code, services, request.app.state.editor)
    except (NotFound, Missing):
        reads.failed(address)
        raise NotFound from None
    return Response(answer, media_type="application/json")


async def _read(code: str, services: Services, editor: Any) -> bytes:
    assert isinstance(editor, Editor)  # noqa: S101  # set by create_api; tells the type checker
    if not is_code(code):
        raise NotFound
    now = services.clock()
    async with services.database.acquire() as connection:
        found = await shares.find(connection, services.keyring, code, now=now)
    if found is None:
        raise NotFound
    share, library = found
    answer = await editor.read(library, partial(intents.source, prompt_id=share.prompt_id, version_id=share.version_id, code=share.code))
    services.opened_shares.count(share.id, now)
    return answer
