"""`POST /api/import`: a file of ours or of Prompt Optimizer brought into a library."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from auth.errors import Forbidden
from auth.permissions import may_write
from server.errors import Refused, TryLater
from server.file_reader import FileReader
from server.intents.importing import WouldImport, bring
from server.intents.tally import together
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import WRITES, At
from server.routes.body import StrictRequest
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.json_answers import Json
from server.times import ms
from server.transfer.detect import Kind
from server.transfer.problems import Reason

TYPES = ("application/json", "application/zip", "application/octet-stream")
"""What a file may be sent as; what it is, its content says."""
UPLOAD_SECONDS = 120.0
"""How long a file may take to arrive: it holds its part of what may be in memory at once. Past it: 408."""

_FILE = {"type": "string", "format": "binary"}
_BODY = {"required": True, "content": {kind: {"schema": {} if kind == TYPES[0] else _FILE} for kind in TYPES}}
_REFUSALS = {
    "unknown_file": 422,
    "newer_file": 422,
    "malformed_file": 422,
    "unsupported_encoding": 422,
    "unsafe_package": 422,
    "too_many_values": 413,
    "too_slow": 408,
    "too_many_attempts": 429,
}


class Counts(BaseModel):
    """What became of a section's items."""

    created: int
    merged: int = Field(description="they were there, and lacked something that the file has")
    unchanged: int
    skipped: int


class ProblemOfFile(BaseModel):
    """Something in the file that is not in the library as it is there."""

    file: str = Field(description="of a package; else `file`, or what kind of file it is")
    section: str
    item: str = Field(description="its id or key, or its place in the section")
    code: Reason
    where: str | None = Field(description="the field")
    error: bool = Field(description="whether something is lost that a library could have kept")


class LeftOutSecret(BaseModel):
    """A secret of the file that is nowhere now."""

    place: str
    kind: str


class ImportReport(BaseModel):
    """What became of a file."""

    kind: Kind
    dry_run: bool
    sections: dict[str, Counts]
    problems: list[ProblemOfFile]
    more_problems: int
    errors: int = Field(description="how many of all problems are errors")
    left_out: list[LeftOutSecret]
    more_left_out: int
    resources_left_out: int = Field(description="images in the package: their ids are kept, their bytes are not")
    updates: int = Field(description="in how many updates it came: one, unless it has thousands of prompts; each is whole")
    seq: int = Field(description="where the library stands with it")


def import_router(reader: FileReader) -> APIRouter:
    """The route, over what reads files."""
    router = APIRouter(prefix="/api/import", tags=["import"], route_class=CreatingRoute)

    async def arrived(request: StrictRequest, at: At, services: Served) -> AsyncIterator[bytes]:
        """The file, of which the memory is counted as it comes, until the answer is made: what a client announces holds nobody up.

        Kept in memory: it may hold keys, and a disk remembers.
        """
        if not may_write(at.library.role):
            raise Forbidden
        _check_type(request.headers)
        await services.limits.bring_in(at.principal.user.id)
        async with reader.budget.growing() as held:

            async def arriving(count: int) -> None:
                if not await held.add(count):
                    raise TryLater

            try:
                file = await asyncio.wait_for(request.body_by_pieces(arriving), UPLOAD_SECONDS)
            except TimeoutError:
                raise Refused(408, "too_slow", f"The file did not arrive within {UPLOAD_SECONDS:.0f} s") from None
            yield file

    @router.post("", responses=fails(**_REFUSALS, **WRITES, **ONCE), response_model=ImportReport, openapi_extra={"requestBody": _BODY})
    async def bring_in(
        at: At,
        file: Annotated[bytes, Depends(arrived)],
        claim: Claimed,
        services: Served,
        dry_run: Annotated[bool, Query(description="say what would happen, and store nothing")] = False,
    ) -> Response:
        """Bring a file into a library. What is there stays as it is: a file that comes again changes nothing."""
        slices = await reader.read(file, at.library.id, ms(claim.now))
        at = await at.as_it_stands(services)
        seq, reports = at.library.head, []
        for each in slices:
            try:
                edited = await at.edit(partial(bring, reading=each, now=ms(claim.now), dry_run=dry_run), away=True)
            except WouldImport as would:
                reports.append(would.report)
            else:
                seq = edited.seq
                reports.append(edited.answer)
        return Json({**together(reports), "dry_run": dry_run, "seq": seq})

    return router


def _check_type(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES or headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "unsupported_media_type", f"The body must be the file, not compressed again, as {', '.join(TYPES)}")
