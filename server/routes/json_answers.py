"""JSON answers: times as they are written there, and answers that no model looks at again."""

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import Response
from pydantic_core import to_json

from server.routes.etags import quoted


def moment(milliseconds: int) -> datetime:
    """A time in ms since 1970 as JSON writes it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def ms(moment: datetime) -> int:
    """The ms since 1970."""
    return int(moment.timestamp() * 1000)


class Json(Response):
    """An answer that is put into JSON as it is: a model for each of many things would take longer than finding them."""

    media_type = "application/json"

    def __init__(self, content: object, *, status: int = 200, etag: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(content), status, {**(headers or {}), **({"ETag": quoted(etag)} if etag is not None else {})})
