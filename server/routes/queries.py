"""Queries of many parameters, read by a model at once.

FastAPI reads a model's parameters one by one, and asks anew at every request what kind each of them is: for some twenty of them that takes
as long as everything else it does. They are documented as FastAPI would.
"""

from typing import Any, Generic, TypeVar, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class QueryOf(Generic[M]):
    """A dependency: the query as a model reads it. What the model does not know, or has twice, `StrictRoute` has refused before."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self.takes_several = {name: get_origin(field.annotation) is list for name, field in model.model_fields.items()}
        """The parameters, and whether each may be given several times."""

    async def __call__(self, request: Request) -> M:
        asked = request.query_params
        try:
            return self._model.model_validate({name: asked.getlist(name) if self.takes_several[name] else asked[name] for name in asked})
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)
            raise RequestValidationError([{**each, "loc": ("query", *each["loc"])} for each in wrong]) from None

    def documented(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """What a route's `openapi_extra` says of it; `without` are parameters that another dependency documents."""
        schema = self._model.model_json_schema()
        shared = schema.get("$defs", {})
        return {
            "parameters": [
                {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _inlined(field, shared)}
                | ({"description": field["description"]} if "description" in field else {})
                for name, field in schema["properties"].items()
                if name not in without
            ]
        }


def _inlined(schema: Any, shared: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place."""
    match schema:
        case {"$ref": str(reference), **others}:
            return _inlined(shared[reference.rpartition("/")[2]], shared) | {name: _inlined(each, shared) for name, each in others.items()}
        case dict():
            return {name: _inlined(each, shared) for name, each in schema.items()}
        case list():
            return [_inlined(each, shared) for each in schema]
    return schema
