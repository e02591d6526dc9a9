"""`/api/variables`: the variables that all prompts of a library share."""

import re
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic_core import PydanticCustomError

from server.intents import workbench
from server.problems import fails
from server.routes.at import READS, WRITES, At
from server.routes.body import StrictRoute
from server.routes.texts import Body, PromptText

router = APIRouter(prefix="/api/variables", tags=["variables"], route_class=StrictRoute)

MAX_NAME = 50
"""Characters of a variable's name, as clients bound it. Past it: 422."""
MAX_VALUE = 10_000
"""Characters of its value, likewise."""
_NAME = re.compile(r"[^\s{}#/^!>&\d\x00-\x1f\ud800-\udfff][^\s{}\x00-\x1f\ud800-\udfff]*")
_RESERVED = frozenset({"__proto__", "prototype", "constructor"})


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or text in _RESERVED:
        raise PydanticCustomError("variable_name", "is no name that a placeholder can have")
    return text


VariableName = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_NAME), AfterValidator(_name)]
Named = Annotated[str, Path(min_length=1, max_length=200, description="whatever a client has called it")]


class Variable(Body):
    """A variable's value."""

    value: Annotated[PromptText, StringConstraints(max_length=MAX_VALUE)]


class Variables(BaseModel):
    """The variables' values, by their names."""

    variables: dict[str, str]


@router.get("", responses=fails(**READS))
async def list_all(at: At) -> Variables:
    """All variables."""
    return Variables(variables=dict(await at.read(workbench.variables)))


@router.put("/{name}", status_code=204, responses=fails(too_many=409, **WRITES))
async def put(name: Annotated[VariableName, Path()], body: Variable, at: At) -> Response:
    """Give a variable a value."""
    await at.edit(partial(workbench.set_variable, name=name, value=body.value))
    return Response(status_code=204)


@router.delete("/{name}", status_code=204, responses=fails(**WRITES))
async def delete(name: Named, at: At) -> Response:
    """Take a variable away."""
    await at.edit(partial(workbench.delete_variable, name=name))
    return Response(status_code=204)
