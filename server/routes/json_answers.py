"""JSON answers that no model looks at again."""

from collections.abc import Mapping

from fastapi import Response
from pydantic_core import to_json

from server.routes.etags import quoted


class Json(Response):
    """An answer that is put into JSON as it is: a model for each of many things would take longer than finding them."""

    media_type = "application/json"

    def __init__(self, content: object, *, status: int = 200, etag: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(content), status, {**(headers or {}), **({"ETag": quoted(etag)} if etag is not None else {})})
