"""`/api/prompts`: the prompts of a library. What is written takes the way that devices take: committed, answered, and seen by them."""

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Response

from crdt.shown import FullPrompt
from crdt.view import View
from server.claim import Claim
from server.errors import PreconditionFailed, problem_of
from server.intents import prompts
from server.intents.prompt_json import HISTORY, USUAL, Shown, chosen, prompt_json
from server.intents.prompts import Draft, Stamp
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, WRITES, At, AtLibrary
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.etags import IfMatch, IfNoneMatch, is_known, quoted, wanted
from server.routes.json_answers import Json
from server.routes.prompt_bodies import FieldList, Listing, NewPrompt, PromptBody, PromptPatch, PutPrompt
from server.routes.prompt_views import FullPromptView, PromptList
from server.routes.queries import QueryOf
from server.routes.texts import MAX_ID
from server.share_links import end_links_to
from server.times import ms

router = APIRouter(prefix="/api/prompts", tags=["prompts"], route_class=CreatingRoute)

T = TypeVar("T")

PromptId = Annotated[str, Path(min_length=1, max_length=MAX_ID)]
Fields = Annotated[
    FieldList | None, Query(description="what is answered, comma separated; without it everything but `optimization_history`")
]
CHANGES = {"invalid_etag": 422, "precondition_failed": 412, **WRITES}
"""What every route that changes a prompt can refuse with."""
_LISTING = QueryOf(Listing)
_SETS = {"unknown_reference": 422, "damaged": 409, **CHANGES, **ONCE}


@router.get(
    "",
    responses=fails(invalid_cursor=422, **READS),
    response_model=PromptList,
    openapi_extra=_LISTING.documented(without=frozenset({"library"})),
)
async def list_all(at: At, asked: Annotated[Listing, Depends(_LISTING)]) -> Response:
    """The prompts that fit, a page at a time. What is not changed meanwhile is on one page, once."""
    search = partial(prompts.search, asked=asked.query(), owner_id=at.library.owner_id, fields=chosen(asked.fields))
    return Response(await at.read(search), media_type="application/json")


@router.post(
    "", status_code=201, responses=fails(already_there=409, unknown_reference=422, **WRITES, **ONCE), response_model=FullPromptView
)
async def create(body: NewPrompt, at: At, claim: Claimed) -> Response:
    """Make a prompt, as the last one."""
    made = (await at.edit(partial(prompts.create, draft=draft_of(body, at, claim, 0)))).answer
    return answer_of(made, at, status=201, headers={"Location": at.address(f"/api/prompts/{made.prompt.id}")})


@router.get("/{prompt_id}", responses=fails(**READS) | {304: {"description": "it is known"}}, response_model=FullPromptView)
async def get(prompt_id: PromptId, at: At, fields: Fields = None, if_none_match: IfNoneMatch = None) -> Response:
    """One prompt, in the bin or not."""
    names = chosen(fields)
    shown = await at.read(partial(prompts.show, prompt_id=prompt_id, history=HISTORY in names))
    if is_known(if_none_match, shown.state.etag):
        return Response(status_code=304, headers={"ETag": quoted(shown.state.etag)})
    return Json(prompt_json(shown, at.library.owner_id, names), etag=shown.state.etag)


@router.put("/{prompt_id}", responses=fails(**_SETS), response_model=FullPromptView)
async def put(prompt_id: PromptId, body: PutPrompt, at: At, claim: Claimed, if_match: IfMatch = None) -> Response:
    """Set all fields of a prompt. Texts are typed into where they differ from what is there now.

    Send `base` or `If-Match` with a text that was made from an older state: it would take back what others have typed since.
    """
    return await _set(prompt_id, body, at, claim, if_match)


@router.patch("/{prompt_id}", responses=fails(**_SETS), response_model=FullPromptView)
async def patch(prompt_id: PromptId, body: PromptPatch, at: At, claim: Claimed, if_match: IfMatch = None) -> Response:
    """Set some fields of a prompt."""
    return await _set(prompt_id, body, at, claim, if_match)


@router.delete("/{prompt_id}", status_code=204, responses=fails(**CHANGES, **ONCE))
async def delete(
    prompt_id: PromptId,
    at: At,
    claim: Claimed,
    services: Served,
    purge: Annotated[bool, Query(description="destroy it with its history, instead of putting it into the bin")] = False,
    if_match: IfMatch = None,
) -> Response:
    """Put a prompt into the bin, where what others edit in it meanwhile stays readable; or destroy it."""
    change = partial(prompts.delete, prompt_id=prompt_id, now=ms(claim.now), purge=purge, if_match=wanted(if_match))
    answer = await changed(at, change, if_match, lambda _: Response(status_code=204))
    if purge and answer.status_code == HTTPStatus.NO_CONTENT:
        await end_links_to([prompt_id], at.library.id, services)
    return answer


@router.post("/{prompt_id}/restore", responses=fails(**CHANGES), response_model=FullPromptView)
async def restore(prompt_id: PromptId, at: At, if_match: IfMatch = None) -> Response:
    """Take a prompt out of the bin."""
    change = partial(prompts.restore, prompt_id=prompt_id, if_match=wanted(if_match))
    return await changed(at, change, if_match, lambda state: answer_of(state, at))


def draft_of(body: NewPrompt, at: AtLibrary, claim: Claim, number: int) -> Draft:
    """The prompt that is to be made, as the request's thing of this number."""
    prompt_id = body.id or claim.id_for(2 * number)
    return Draft(
        id=str(prompt_id),
        fields=body.fields(),
        stamp=stamp_of(at, claim, number),
        again=body.id is None or claim.is_keyed,
        only=claim.was_done,
    )


def stamp_of(at: AtLibrary, claim: Claim, number: int) -> Stamp:
    """What the request's change of this number is signed with."""
    return Stamp(device=str(at.principal.device_id), now=ms(claim.now), version_id=str(claim.id_for(2 * number + 1)))


async def _set(prompt_id: str, body: PromptBody | PromptPatch, at: AtLibrary, claim: Claim, if_match: str | None) -> Response:
    fields = body.fields()
    change = partial(prompts.change, prompt_id=prompt_id, fields=fields, stamp=stamp_of(at, claim, 0), if_match=wanted(if_match))
    return await changed(at, change, if_match, lambda state: answer_of(state, at), away=prompts.compares_texts(fields))


async def changed(
    at: AtLibrary, change: Callable[[View], T], if_match: str | None, answer: Callable[[T], Response], *, away: bool = False
) -> Response:
    """The answer to a change; where it asked for another state, the prompt as it is. `away`: see `Editor.edit`."""
    try:
        return answer((await at.edit(change, on_all=if_match is not None, away=away)).answer)
    except PreconditionFailed as failed:
        state = failed.state
        current = prompt_json(Shown(state=state), at.library.owner_id, USUAL)
        return problem_of(failed).response({"current": current}, headers={"ETag": quoted(state.etag)})


def answer_of(state: FullPrompt, at: AtLibrary, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The prompt."""
    return Json(prompt_json(Shown(state=state), at.library.owner_id, USUAL), status=status, etag=state.etag, headers=headers)
