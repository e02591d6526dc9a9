"""`GET /api/models`: which providers and models there are, what may be set on a call, and what a provider says that it has."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from server.ai.calls import Target
from server.ai.listed_models import ListedModel
from server.ai.providers import CATALOGUE, Provider
from server.answers import MODEL_CODES
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, AtOwn
from server.routes.body import StrictRoute
from server.routes.json_answers import Json
from server.routes.texts import Known

router = APIRouter(prefix="/api/models", tags=["models"], route_class=StrictRoute)


class ParameterView(BaseModel):
    """What may be set on a call. What is not in a provider's list may be set too: it is passed on as it is."""

    name: str
    type: str = Field(description="`number`, `integer`, `boolean`, `string`, `strings` or `object`")
    default: str = Field(description="in words: what is not set is not sent")
    minimum: float | None
    maximum: float | None
    values: list[str] = Field(description="the only texts that it takes; empty: any")


class ProviderView(BaseModel):
    """A provider of models."""

    id: str
    name: str
    base_url: str = Field(description="where it is asked if a configuration says nothing else; empty: a configuration has to say")
    needs_key: bool
    request_styles: list[str]
    parameters: list[ParameterView]
    models: list[str] = Field(description="a few that are well known; the live list has all")
    hint: str


class SharedModelView(BaseModel):
    """A model of the operator's, which everybody here may use."""

    id: str = Field(description="by which it is called, in the place of a configuration's id")
    name: str
    provider: str
    model: str


class LiveModelView(BaseModel):
    """A model that the provider of a configuration says it has."""

    id: str
    name: str


class ModelsView(BaseModel):
    """What may be called here."""

    providers: list[ProviderView]
    shared: list[SharedModelView]
    live: list[LiveModelView] | None = Field(description="with `?config=`: what that provider has, as it said a few minutes ago at most")


@router.get("", responses=fails(**READS, **MODEL_CODES), response_model=ModelsView)
async def models(
    request: Request,
    at: AtOwn,
    services: Served,
    config: Annotated[Known | None, Query(description="a configuration of the asking user's: list what its provider has")] = None,
) -> Response:
    """Providers with their parameters, the operator's shared models, and, for a configuration, what its provider has."""
    live = None
    if config is not None:
        live = [_live(model) for model in await services.models.listed(at.principal, config, request.app.state.editor)]
    shared = [_shared(target) for target in services.models.shared.targets]
    return Json({"providers": _PROVIDERS, "shared": shared, "live": live}, headers={"Cache-Control": "private, no-store"})


def _provider(provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.id,
        "name": provider.name,
        "base_url": provider.base_url,
        "needs_key": provider.needs_key,
        "request_styles": provider.request_styles,
        "parameters": [parameter._asdict() for parameter in provider.parameters],
        "models": provider.models,
        "hint": provider.hint,
    }


def _shared(target: Target) -> dict[str, str]:
    """What everybody may know of it: neither its address nor its parameters."""
    return {"id": target.config_id, "name": target.name, "provider": target.provider, "model": target.model}


def _live(model: ListedModel) -> dict[str, str]:
    return model._asdict()


_PROVIDERS = [_provider(provider) for provider in CATALOGUE]
