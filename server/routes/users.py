"""`/api/users`: the signed-in user."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from server.routes.texts import Body, Name
from storage import users
from storage.errors import NotFound
from storage.users import Rank, User

router = APIRouter(prefix="/api/users", tags=["users"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}


class UserView(BaseModel):
    """A user as the user sees it."""

    id: UUID
    email: str | None = Field(description="null where an account has none: its owner signs in with another provider")
    email_verified: bool = Field(description="whether somebody has shown that the mailbox is theirs")
    name: str
    role: Rank
    library_id: UUID
    created_at: datetime
    last_login: datetime | None

    @classmethod
    def of(cls, user: User) -> "UserView":
        return cls(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            name=user.name,
            role=user.role,
            library_id=user.library_id,
            created_at=user.created_at,
            last_login=user.last_login_at,
        )


class UserChanges(Body):
    """What a user may change; what is not given stays as it is."""

    # not None: a name that is null is a mistake
    name: Name = Field(default_factory=str)


@router.get("/me", responses=fails(**SIGNED_IN))
async def me(asking: Asking) -> UserView:
    """The user whose access token this is."""
    return UserView.of(asking.user)


@router.patch("/me", responses=fails(not_found=404, **_FORM, **SIGNED_IN))
async def change(body: UserChanges, asking: Asking, services: Served) -> UserView:
    """Change the user whose access token this is."""
    if "name" not in body.model_fields_set:
        return UserView.of(asking.user)
    async with services.database.acquire() as connection:
        user = await users.rename(connection, asking.user.id, body.name)
    if user is None:
        raise NotFound
    return UserView.of(user)
