"""Reading requests, JSON bodies above all, so strictly that what the handlers get can be stored and sent back.

Python's own reader takes NaN, lone surrogates and the last of two equal keys, and dies on deep nesting. pydantic-core's refuses
all but the equal keys; once it has agreed, nesting is bounded and Python's reader may look for those.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json

from server.errors import Refused
from server.routes.asking import BearerToken, bearer_token, principal
from server.routes.queries import QueryOf

MAX_PARTS = 512 << 10
"""Commas and opening brackets of a body, those in its texts too: to read them takes 0.1 s, and nobody is served meanwhile. Past it: 413."""


class StrictRoute(APIRoute):
    """A route that takes no query parameters but its own, and reads its JSON body by `parse`, only when it says that it is plain JSON.

    Who may not ask at all is told that first.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        everything = list(_with_all_below(self.dependant))
        asked = dict(_query_of(everything))
        needs_token = any(isinstance(dependant.call, BearerToken) for dependant in everything)

        async def strict(request: Request) -> Response:
            try:
                _check_query(request, asked)
                if self.body_field is not None and (self.body_field.field_info.is_required() or _has_body(request)):
                    _require_json(request)
                return await handler(StrictRequest(request.scope, request.receive))
            except (Refused, RequestValidationError):
                if needs_token:
                    await principal(request, bearer_token(request))
                raise

        return strict


class StrictRequest(Request):
    """A request to a strict route."""

    async def body_by_pieces(self, arriving: Callable[[int], Awaitable[None]]) -> bytes:
        """The body; each piece's length is told before it is kept."""
        pieces = []
        async for piece in self.stream():
            await arriving(len(piece))
            pieces.append(piece)
        self._body = b"".join(pieces)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


def _with_all_below(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _with_all_below(each)


def _query_of(dependants: Iterable[Dependant]) -> Iterator[tuple[str, bool]]:
    """The names of the query parameters, and whether each may be given several times."""
    for dependant in dependants:
        for field in dependant.query_params:
            yield field.alias, get_origin(field.field_info.annotation) is list
        if isinstance(dependant.call, QueryOf):
            yield from dependant.call.takes_several.items()


def _check_query(request: Request, asked: Mapping[str, bool]) -> None:
    """Raise RequestValidationError for a parameter that nobody asked for: misspelt, it would be as if it were not there."""
    if not request.scope["query_string"]:
        return
    found: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in asked:
            raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", name), "msg": "Extra inputs are not permitted"}])
        if name in found and not asked[name]:
            raise RequestValidationError([{"type": "repeated", "loc": ("query", name), "msg": "is given more than once"}])
        found.add(name)


def parse(body: bytes) -> Any:
    """The one JSON value in `body`.

    Raises:
        Refused: not JSON, not UTF-8, lone surrogates, NaN or numbers past all bounds, equal keys in an object, nested past 200, or
            of too many parts.
    """
    if len(body) > MAX_PARTS and sum(map(body.count, (b",", b"[", b"{"))) > MAX_PARTS:
        raise Refused(413, "too_large", "The body has more values than are allowed here")
    try:
        value = from_json(body, allow_inf_nan=False)
        json.loads(body, object_pairs_hook=_distinct, parse_float=_finite)
    except ValueError as error:
        # a new one each time: an exception that is raised again keeps the frames, and so the bodies, of every time before
        raise Refused(400, "malformed_json", "The body is not one JSON value in UTF-8 that every reader reads alike") from error
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("equal keys")


def _finite(text: str) -> None:
    if float(text) in (float("inf"), float("-inf")):
        raise ValueError("a number past all bounds")


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "unsupported_media_type", "The body must be application/json, not compressed")
