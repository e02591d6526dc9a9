"""`/api/auth/identities`: the accounts elsewhere that sign this user in."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server import social_cookie
from server.problems import fails
from server.routes.asking import SIGNED_IN, SIGNED_IN_RECENTLY, Asking, RecentlyAsking, Served
from server.routes.body import StrictRoute
from server.routes.google import FORM, NOT_HERE, DepartureView, IdTokenBody, ReturnBody, leaving
from server.routes.grants import IN_COOKIE_FAILS
from server.routes.texts import Id
from storage.identities import Linked, Provider

router = APIRouter(prefix="/api/auth/identities", tags=["auth"], route_class=StrictRoute)

LINKING = {"identity_taken": 409, "too_many_identities": 409, **FORM, **SIGNED_IN_RECENTLY}
"""What every route can refuse with that links an identity."""
_WITH_GOOGLE = {"social_refused": 401, "too_many_attempts": 429, **NOT_HERE, **LINKING}


class IdentityView(BaseModel):
    """An account elsewhere that signs this user in."""

    id: UUID
    provider: Provider
    email: str | None = Field(description="as the provider last said it; nobody is found by it")
    name: str
    created_at: datetime
    last_used_at: datetime

    @classmethod
    def of(cls, linked: Linked) -> "IdentityView":
        return cls(
            id=linked.id,
            provider=linked.provider,
            email=linked.email,
            name=linked.name,
            created_at=linked.created_at,
            last_used_at=linked.last_used_at,
        )


class IdentitiesView(BaseModel):
    """All of them, oldest first."""

    identities: list[IdentityView]


@router.get("", responses=fails(**SIGNED_IN))
async def list_identities(asking: Asking, services: Served) -> IdentitiesView:
    """The accounts elsewhere that sign this user in."""
    return IdentitiesView(identities=[IdentityView.of(linked) for linked in await services.identities.of_user(asking.user.id)])


@router.post("/google", responses=fails(**_WITH_GOOGLE))
async def link_google(body: IdTokenBody, asking: RecentlyAsking, request: Request, services: Served) -> IdentityView:
    """Have the Google account that an ID token names sign this user in from now on."""
    await services.limits.social(services.address_of(request))
    now = services.clock()
    external = await services.google.identify(body.id_token, body.nonce, now=now)
    return IdentityView.of(await services.identities.link(asking, external, now=now, caller=services.caller_of(request)))


@router.post("/google/start", responses=fails(too_many_attempts=429, **(NOT_HERE | SIGNED_IN_RECENTLY)))
async def start_linking_google(asking: RecentlyAsking, request: Request, response: Response, services: Served) -> DepartureView:
    """The address of Google's page, from which this browser comes back to the app, which then asks `finish`."""
    await services.limits.social(services.address_of(request))
    return leaving(await services.google.begin(now=services.clock(), linking=asking), response, services)


@router.post("/google/finish", responses=fails(invalid_state=400, **_WITH_GOOGLE, **IN_COOKIE_FAILS))
async def finish_linking_google(
    body: ReturnBody, asking: RecentlyAsking, request: Request, response: Response, services: Served
) -> IdentityView:
    """Have the Google account that this browser has come back with sign this user in from now on."""
    await services.limits.social(services.address_of(request))
    now = services.clock()
    external = await services.google.came_back(body.returned(request, services), now=now, linking=asking)
    linked = await services.identities.link(asking, external, now=now, caller=services.caller_of(request))
    social_cookie.drop(response, services.settings)
    return IdentityView.of(linked)


@router.delete("/{identity_id}", status_code=204, responses=fails(not_found=404, last_way_in=409, **SIGNED_IN_RECENTLY))
async def unlink(identity_id: Id, asking: RecentlyAsking, request: Request, services: Served) -> Response:
    """Have this account elsewhere sign nobody in any more. Sessions go on."""
    await services.identities.unlink(asking, identity_id, now=services.clock(), caller=services.caller_of(request))
    return Response(status_code=204)
