"""`POST /api/prompts/batch`: many operations in one transaction."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from server.claim import Claim
from server.errors import AlreadyDone, BatchRefused, problem_of
from server.intents.batches import Deleting, Done, Making, Setting, carry_out
from server.intents.prompts import compares_texts
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import WRITES, At, AtLibrary
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.json_answers import Json
from server.routes.prompt_bodies import Batch, Create, Delete, Update
from server.routes.prompt_views import BatchView
from server.routes.prompts import draft_of, stamp_of
from server.services import Services
from server.share_links import end_links_to
from server.times import ms

MOST_HERE = 20
"""Operations that may be carried out in the serving process, where others wait for them; more go to a document process."""

router = APIRouter(prefix="/api/prompts", tags=["prompts"], route_class=CreatingRoute)


@router.post("/batch", responses=fails(batch_refused=409, already_done=409, **WRITES, **ONCE), response_model=BatchView)
async def batch(body: Batch, at: At, claim: Claimed, services: Served) -> Response:
    """Make, change and delete up to 500 prompts, in this order and committed together; all or nothing where that is asked for."""
    if claim.was_done:
        raise AlreadyDone
    operations = [_operation(each, at, claim, number) for number, each in enumerate(body.operations)]
    try:
        edited = await at.edit(
            partial(carry_out, operations=operations, atomic=body.atomic),
            on_all=any(getattr(each, "if_match", None) for each in operations),
            away=len(operations) > MOST_HERE or any(isinstance(each, Setting) and compares_texts(each.fields) for each in operations),
        )
    except BatchRefused as refused:
        return problem_of(refused).response({"results": [_result(each) for each in refused.done]})
    await _end_links(edited.answer, operations, at, services)
    return Json(
        {"results": [_result(each, operation) for each, operation in zip(edited.answer, operations, strict=True)], "seq": edited.seq}
    )


async def _end_links(done: Sequence[Done], operations: Sequence[Any], at: AtLibrary, services: Services) -> None:
    purged = [
        each.id
        for each, operation in zip(done, operations, strict=True)
        if isinstance(operation, Deleting) and operation.purge and each.error is None
    ]
    if purged:
        await end_links_to(purged, at.library.id, services)


def _operation(asked: Create | Update | Delete, at: AtLibrary, claim: Claim, number: int) -> Making | Setting | Deleting:
    match asked:
        case Create():
            return Making(draft=draft_of(asked, at, claim, number))
        case Update():
            return Setting(id=asked.id, fields=asked.fields(), stamp=stamp_of(at, claim, number), if_match=_unquoted(asked.if_match))
        case Delete():
            return Deleting(id=asked.id, now=ms(claim.now), purge=asked.purge, if_match=_unquoted(asked.if_match))


def _unquoted(tag: str | None) -> str | None:
    return None if tag is None else tag.removeprefix('"').removesuffix('"')


def _result(done: Done, operation: Making | Setting | Deleting | None = None) -> dict[str, Any]:
    if done.error is not None:
        problem = problem_of(done.error)
        return {"id": done.id, "status": problem.status, "code": problem.code, "etag": None}
    if operation is None:
        return {"id": done.id, "status": 424, "code": "not_done", "etag": None}
    status = 201 if isinstance(operation, Making) else 204 if isinstance(operation, Deleting) else 200
    return {"id": done.id, "status": status, "code": None, "etag": done.etag}
