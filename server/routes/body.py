"""Reading JSON bodies so strictly that what the handlers get can be stored and sent back.

Python's own reader takes NaN, lone surrogates and the last of two equal keys, and dies on deep nesting. pydantic-core's refuses
all but the equal keys; once it has agreed, nesting is bounded and Python's reader may look for those.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from server.errors import Refused

MAX_PARTS = 512 << 10
"""Commas and opening brackets of a body, those in its texts too: to read them takes 0.1 s, and nobody is served meanwhile. Past it: 413."""


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `parse`, and only when it says that it is plain JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if self.body_field is not None and (self.body_field.field_info.is_required() or _has_body(request)):
                _require_json(request)
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


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
