"""The REST application: routers, the answers to what goes wrong, and what every request passes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from auth.errors import (
    AuthError,
    InvalidRefreshToken,
    InvalidToken,
    ProviderMisconfigured,
    ProviderTrouble,
    ProviderUnavailable,
    RefreshReused,
    SessionEnded,
    SocialRefused,
)
from crdt.errors import CrdtError
from server import problems
from server.ai.errors import OptimizeError
from server.ai.failures import ModelFailed
from server.editor import Editor
from server.errors import ServerError, is_expected, problem_of
from server.hosts import KnownHost
from server.middleware import BodyLimit, Origins, ReadableAddress, RequestLog
from server.routes import (
    account,
    admin,
    auth,
    batches,
    categories,
    google,
    history,
    identities,
    libraries,
    mailboxes,
    model_configs,
    models,
    passwords,
    preferences,
    prompt_source,
    prompts,
    reauthentication,
    registrations,
    sessions,
    shares,
    stats,
    tags,
    templates,
    usage,
    users,
    variables,
    versions,
    wechat,
)
from server.routes.documented import Documented
from server.routes.grants import forget_cookie
from server.routes.route_index import RouteIndex
from server.services import Services
from storage.errors import StorageError

log = structlog.get_logger(__name__)

ANYWHERE = {
    "malformed_address": 400,
    "malformed_http": 400,
    "too_slow": 408,
    "too_large": 413,
    "unknown_host": 421,
    "invalid_request": 422,
    "headers_too_large": 431,
    "internal": 500,
}
"""What every request can be refused with, whatever it asks for."""
_RESOURCES = (
    *(auth, registrations, mailboxes, passwords, google, identities, wechat, sessions, reauthentication, account, admin),
    *(preferences, users, libraries, stats, batches, prompts, history, versions),
    *(categories, tags, templates, variables, shares, prompt_source, models, model_configs, usage),
)
_ROUTERS = (*(resource.router for resource in _RESOURCES), shares.prompt_router, google.callback_router, wechat.callback_router)
_ROUTER = APIRouter(responses=problems.fails(invalid_request=422))
"""All REST routes. Not included by each application: it would put every route together anew for itself, which takes some 0.3 s."""
for _router in _ROUTERS:
    _ROUTER.include_router(_router)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Api(FastAPI):
    """FastAPI whose OpenAPI document knows what a problem looks like, which of them any request may meet, and the plain routes."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"] |= problems.schemas()
            plain = [route for route in self.routes if isinstance(route, Documented)]
            document["paths"] |= {route.shown_path: route.operation for route in plain}
            for operation in (operation for operations in document["paths"].values() for operation in operations.values()):
                problems.add_to(operation, **ANYWHERE)
                operation["summary"] = operation["description"].partition(". ")[0].partition(": ")[0].removesuffix(".")
        return self.openapi_schema or {}


def create_api(
    services: Services,
    editor: Editor | None = None,
    *,
    routes: Sequence[BaseRoute] = (),
    routers: Sequence[APIRouter] = (),
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application over these services. `routes` are plain Starlette ones, tried before the REST routes; `routers` are further ones."""
    settings = services.settings
    app = Api(
        title="Prompt library sync",
        version="0.1.0",
        routes=[*routes, *_ROUTER.routes],
        lifespan=lifespan,
        # the interactive pages load their scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        openapi_url=None if settings.production else "/openapi.json",
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=_middleware(services),
        exception_handlers={
            RequestValidationError: _invalid,
            HTTPException: _refused,
            AuthError: _refused,
            StorageError: _refused,
            ServerError: _refused,
            CrdtError: _refused,
            ModelFailed: _refused,
            OptimizeError: _refused,
        },
        responses=problems.fails(invalid_request=422),
    )
    app.state.services = services
    app.state.editor = editor
    _index(app, routers)
    return app


def _index(app: FastAPI, further: Sequence[APIRouter]) -> None:
    """Include the further routers, and stand an index before all routes."""
    ours = {id(route): router.routes for route, router in zip(_ROUTER.routes, _ROUTERS, strict=True)}
    known = [(route, _paths(ours.get(id(route), [route]))) for route in app.routes]
    for router in further:
        app.include_router(router)
        known.append((app.routes[-1], _paths(router.routes)))
    app.routes.insert(0, RouteIndex(known))


def _paths(routes: Sequence[BaseRoute]) -> list[str]:
    return [route.path for route in routes if isinstance(route, Route)]


def _middleware(services: Services) -> list[Middleware]:
    settings = services.settings
    return [
        Middleware(RequestLog, random=services.random, https=settings.production),
        Middleware(KnownHost, settings=settings),
        Middleware(Origins, allowed=settings.allowed_origins, open_below=f"{shares.SOURCE_PATH}/", cookies_below=f"{auth.router.prefix}/"),
        Middleware(ReadableAddress),
        Middleware(
            BodyLimit,
            small=settings.max_body_bytes,
            batch=settings.max_batch_bytes,
            file=settings.max_import_bytes,
            upload=settings.max_upload_bytes,
        ),
    ]


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it; tells the type checker
    return problems.of_validation(error.errors()).response()


async def _refused(request: Request, error: Exception) -> Response:
    match error:
        case RefreshReused():
            log.warning("refresh_reused", address=request.app.state.services.address_of(request))
        case InvalidToken(reason=reason):
            log.info("token_refused", reason=reason)
        case InvalidRefreshToken():
            log.info("refresh_token_refused")
        case SocialRefused(reason=reason):
            log.info("social_sign_in_refused", reason=reason)
        case ProviderUnavailable(reason=reason):
            log.warning("provider_unavailable", reason=reason)
        case ProviderMisconfigured(reason=reason):
            log.error("provider_misconfigured", path=request.scope["path"], reason=reason)  # somebody has to mend it
        case ProviderTrouble(reason=reason):
            log.warning("provider_trouble", path=request.scope["path"], kind=type(error).__name__, reason=reason)
    if not isinstance(error, HTTPException) and not is_expected(error):
        log.error("request_failed", error=type(error).__name__, exc_info=error)
    answer = problem_of(error).response()
    if isinstance(error, InvalidRefreshToken | SessionEnded):
        forget_cookie(request, answer)
    return answer
