"""`/api/users/me/preferences`: what the user likes, kept in the library so that the user's devices share it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from server.intents import workbench
from server.problems import fails
from server.routes.at import READS, WRITES, At
from server.routes.body import StrictRoute
from server.routes.templates import Language
from server.routes.texts import Name
from server.routes.values import Values, kept_alike

router = APIRouter(prefix="/api/users/me/preferences", tags=["users"], route_class=StrictRoute)


MAX_KEY = 200
"""Characters of a key. Past it: 422."""


class PreferencesPatch(BaseModel):
    """A merge patch (RFC 7396): what is given is set, null takes it away, objects are merged. Other keys than these are free."""

    model_config = ConfigDict(
        extra="allow", hide_input_in_errors=True, json_schema_extra={"examples": [{"language": "en", "ui": {"sidebar": {"open": True}}}]}
    )

    language: Language | None = None
    template_language: Language | None = None
    theme: Name | None = None
    default_model: Name | None = Field(None, description="the id of a model configuration")
    ui: Values | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_free_keys(cls, given: object) -> object:
        # looked at here and as a whole: pydantic would name the key that is wrong, which the client made up
        free = {key: value for key, value in given.items() if key not in cls.model_fields} if isinstance(given, dict) else {}
        for key, value in free.items():
            if not 0 < len(key) <= MAX_KEY or "\0" in key:
                raise PydanticCustomError("preference_key", "has a key that is empty, too long, or has the character NUL")
            kept_alike(value)
        return given

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
