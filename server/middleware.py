"""What every HTTP request passes, as plain ASGI: sockets go straight through.

`RequestLog` is the outermost and answers what nobody else did; then come what an address may be, and the body limits.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from time import perf_counter
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import is_expected, problem_of
from server.problems import Problem

log = structlog.get_logger(__name__)

REQUEST_ID_BYTES = 8
UPLOAD_PREFIX, NO_UPLOAD = "/api/sync/", "/api/sync/force"
"""Updates too large for a socket come below the one."""
BATCH_PATH, IMPORT_PATH = "/api/prompts/batch", "/api/import"
"""Many prompts at once come to the one, files to the other; everything else keeps to the small limit."""
DISCARDED_TIMES = 2
"""A body of up to so many times the largest limit is read to its end and thrown away by uvicorn. Past it the connection is closed, and a
client that is still sending reads a reset instead of the answer."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=31536000; includeSubDomains"

_TOO_LARGE = Problem(status=413, code="too_large", title="The body is larger than is allowed here")
_FAR_TOO_LARGE = replace(_TOO_LARGE, headers={"Connection": "close"})

_UNREADABLE = Problem(status=400, code="malformed_address", title="The address is not UTF-8, percent-encoded")


class RequestLog:
    """Gives each request an id, its security headers and one log line; turns an error that nobody caught into a problem.

    The line has the route's pattern, never the query, a header or a body: those can hold tokens.
    """

    def __init__(self, app: ASGIApp, *, random: Callable[[int], bytes], https: bool) -> None:
        self._app = app
        self._random = random
        self._always = _HEADERS | ({"Strict-Transport-Security": _HSTS} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        request_id = self._random(REQUEST_ID_BYTES).hex()
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), scope["path"], request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            except ClientDisconnect:
                pass  # while it was sending: nobody is there to be answered, and nothing has failed
            except Exception as error:
                if status:
                    raise
                if not is_expected(error):
                    log.exception("request_failed", error=type(error).__name__)
                await problem_of(error).response()(scope, receive, answer)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    route=_pattern(scope),
                    status=status,
                    ms=round((perf_counter() - started) * 1000, 1),
                )

    def _complete(self, headers: MutableHeaders, path: str, request_id: str) -> None:
        headers["X-Request-ID"] = request_id
        for name, value in self._always.items():
            headers.setdefault(name, value)
        if path.startswith("/api/"):
            headers.setdefault("Cache-Control", "no-store")


class Origins:
    """Lets pages of other origins read: what lies below one path those of any, all else those that are allowed.

    Cookies go along below `cookies_below` alone, and only for those that are allowed; anywhere else a token travels in a header.
    """

    def __init__(self, app: ASGIApp, *, allowed: Sequence[str], open_below: str, cookies_below: str) -> None:
        self._open_below = open_below
        self._cookies_below = cookies_below
        self._open = CORSMiddleware(app, allow_origins=["*"], allow_methods=["GET"], expose_headers=["Retry-After", "X-Request-ID"])
        self._others = app if not allowed else _for(allowed, app, cookies=False)
        self._cookies = app if not allowed else _for(allowed, app, cookies=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path.startswith(self._open_below):
            await self._open(scope, receive, send)
        elif path.startswith(self._cookies_below):
            await self._cookies(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def _for(allowed: Sequence[str], app: ASGIApp, *, cookies: bool) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=allowed,
        allow_credentials=cookies,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Session-Mode"],
        expose_headers=[
            *("Content-Disposition", "ETag", "Idempotency-Replayed", "Location"),
            *("Retry-After", "X-Left-Out", "X-Request-ID"),
        ],
    )


class ReadableAddress:
    """Refuses addresses whose percent-encoding is not UTF-8: read with something else in its place, one would name what nobody meant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (_is_utf8(scope.get("raw_path") or b"") and _is_utf8(scope["query_string"])):
            await _UNREADABLE.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_utf8(encoded: bytes) -> bool:
    if b"%" not in encoded:
        return encoded.isascii()
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True


class _Body(Enum):
    """What kind of body a request may bring; each has a limit of its own."""

    SMALL = "small"
    BATCH = "batch"
    IMPORT = "import"
    UPLOAD = "upload"


class BodyLimit:
    """Refuses bodies that are too large with a problem: by their announced length at once, else when the bound is passed."""

    def __init__(self, app: ASGIApp, *, small: int, batch: int, file: int, upload: int) -> None:
        self._app = app
        self._discarded = DISCARDED_TIMES * max(small, batch, file, upload)
        self._limits = {_Body.SMALL: small, _Body.BATCH: batch, _Body.IMPORT: file, _Body.UPLOAD: upload}
        # what comes in chunks is counted by starlette's own, whose exception the application's handler answers
        self._counted = {kind: RequestBodyLimitMiddleware(app, limit) for kind, limit in self._limits.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind = _body_of(scope["method"], scope["path"])
        announced = Headers(scope=scope).get("content-length", "")
        # int() of a very long number raises, and more than 19 digits are too many in any case
        if announced.isdecimal() and (len(announced) > 19 or int(announced) > self._limits[kind]):
            refusal = _FAR_TOO_LARGE if len(announced) > 19 or int(announced) > self._discarded else _TOO_LARGE
            await refusal.response()(scope, receive, send)
            return
        await self._counted[kind](scope, receive, send)


def _body_of(method: str, path: str) -> _Body:
    if method == "POST" and path == BATCH_PATH:
        return _Body.BATCH
    if method == "POST" and path == IMPORT_PATH:
        return _Body.IMPORT
    if method == "POST" and path.startswith(UPLOAD_PREFIX) and path != NO_UPLOAD:
        return _Body.UPLOAD
    return _Body.SMALL


def _pattern(scope: Scope) -> str:
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        return str(route)
    if "endpoint" not in scope:
        return "unmatched"
    # a plain Starlette route leaves no trace of its pattern but what it took from the path
    path = str(scope["path"])
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(str(value), f"{{{name}}}")
    return path
