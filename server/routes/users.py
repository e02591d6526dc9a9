"""`/api/users`: the signed-in user."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking
from server.routes.body import StrictRoute
from storage.users import User

router = APIRouter(prefix="/api/users", tags=["users"], route_class=StrictRoute)


class UserView(BaseModel):
    """A user as the user sees it."""

    id: UUID
    email: str
    name: str
    library_id: UUID
    created_at: datetime
    last_login: datetime | None

    @classmethod
    def of(cls, user: User) -> "UserView":
        return cls(
            id=user.id,
            email=user.email,
            name=user.name,
            library_id=user.library_id,
            created_at=user.created_at,
            last_login=user.last_login_at,
        )


@router.get("/me", responses=fails(**SIGNED_IN))
async def me(asking: Asking) -> UserView:
    """The user whose access token this is."""
    return UserView.of(asking.user)
