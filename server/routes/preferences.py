"""`/api/users/me/preferences`: what the user likes, kept in the library so that the user's devices share it."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.intents import workbench
from server.problems import fails
from server.routes.at import READS, WRITES, At
from server.routes.body import StrictRoute
from server.routes.templates import Language
from server.routes.texts import Name
from server.routes.values import Value, Values

router = APIRouter(prefix="/api/users/me/preferences", tags=["users"], route_class=StrictRoute)


MAX_KEY = 200
"""Characters of a key. Past it: 422."""
Key = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY, pattern=r"^[^\x00]+$")]


class PreferencesPatch(BaseModel):
    """A merge patch (RFC 7396): what is given is set, null takes it away, objects are merged. Other keys than these are free."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[Key, Value] = Field(init=False)

    language: Language | None = None
    template_language: Language | None = None
    theme: Name | None = None
    default_model: Name | None = Field(None, description="the id of a model configuration")
    ui: Values | None = None

    def patch(self) -> Mapping[str, Any]:
        """What was given."""
        return self.model_dump(exclude_unset=True)


class Preferences(BaseModel):
    """The preferences, by their keys."""

    model_config = ConfigDict(extra="allow")


@router.get("", responses=fails(**READS))
async def get(at: At) -> Preferences:
    """All preferences."""
    return Preferences.model_validate(await at.read(workbench.preferences))


@router.patch("", responses=fails(too_many=409, **WRITES))
async def patch(body: PreferencesPatch, at: At) -> Preferences:
    """Change some of them. Two devices that change different ones both win."""
    return Preferences.model_validate((await at.edit(partial(workbench.change_preferences, patch=body.patch()))).answer)
