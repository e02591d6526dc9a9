"""Refusals as `application/problem+json` (RFC 9457) with a stable `code`. Clients read the code, never the text.

Nothing that a client sent is repeated in a problem: a body that fails validation may hold a password.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from pydantic_core import to_jsonable_python
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_MAX_ERRORS = 20
_MESSAGES = {"union_tag_invalid": "is of a kind that is not known here"}
"""In place of pydantic's own that repeat what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One refusal. `errors` names the fields that are wrong and why, never what was in them."""

    status: int
    code: str
    title: str
    detail: str | None = None
    retry_after: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Mapping[str, Any], ...] = ()

    def response(self, members: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None) -> Response:
        """The problem as an answer; `members` are further ones, which the code explains (RFC 9457, 3.2)."""
        body: dict[str, Any] = {
            "type": f"urn:promptsync:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = self.errors
        sent = {**self.headers, **(headers or {}), "Cache-Control": "no-store"}
        if self.retry_after is not None:
            sent["Retry-After"] = str(self.retry_after)
        # ASCII, so that nothing in it can fail to encode
        return Response(json.dumps(body | to_jsonable_python(members or {})).encode(), self.status, sent, media_type=MEDIA_TYPE)

    def raw(self) -> bytes:
        """The problem as bytes on a connection that is closed then, where no application answers."""
        answer = self.response()
        lines = [b"HTTP/1.1 %d %b" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [b"%b: %b" % header for header in (*answer.raw_headers, (b"connection", b"close"))]
        return b"\r\n".join([*lines, b"", bytes(answer.body)])


class FieldProblem(BaseModel):
    """One field that is wrong."""

    where: list[str | int] = Field(description="path to the field, beginning with `body`, `path` or `query`")
    code: str
    message: str


class ProblemBody(BaseModel):
    """What every refusal looks like, for the OpenAPI document."""

    type: str
    title: str
    status: int
    code: str = Field(description="stable: this is what a client acts on")
    detail: str | None = None
    errors: list[FieldProblem] | None = None


def schemas() -> dict[str, Any]:
    """The schemas that `fails` refers to, for the components of the OpenAPI document."""
    # given as a model to each response, FastAPI would promise the same body as application/json too
    _, document = models_json_schema([(ProblemBody, "serialization")], ref_template="#/components/schemas/{model}")
    found: dict[str, Any] = document["$defs"]
    return found


def fails(**codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can refuse with these codes, each with its status."""
    by_status: dict[int, list[str]] = {}
    for code, status in codes.items():
        by_status.setdefault(status, []).append(code)
    return {
        status: {
            "description": "problem with code " + " or ".join(f"`{code}`" for code in names),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"allOf": [{"$ref": "#/components/schemas/ProblemBody"}], "properties": {"code": {"enum": sorted(names)}}}
                }
            },
        }
        for status, names in sorted(by_status.items())
    }


def add_to(operation: dict[str, Any], **codes: int) -> None:
    """Have an operation of the OpenAPI document say that it can refuse with these codes, too."""
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get(MEDIA_TYPE, {}).get("schema", {})
        codes |= dict.fromkeys(schema.get("properties", {}).get("code", {}).get("enum", ()), int(status))
    operation["responses"] |= {str(status): response for status, response in fails(**codes).items()}


def of_validation(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """What pydantic refuses, without what was sent: no values, and no names that the client made up."""
    found = list(errors)
    if any(error["loc"][:1] == ("path",) for error in found):
        # An id that cannot be one is an id that nothing has.
        return Problem(status=404, code="not_found", title="There is nothing here")
    fields = tuple(
        {
            "where": list(error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]),
            "code": error["type"],
            "message": _MESSAGES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, "),
        }
        for error in found[:_MAX_ERRORS]
    )
    return Problem(status=422, code="invalid_request", title="The request does not have the form that is asked for", errors=fields)
