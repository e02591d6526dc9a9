"""Routes that FastAPI knows nothing of, in its OpenAPI document."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Documented(Route):
    """A plain route of one method, and what the OpenAPI document says of it."""

    def __init__(
        self, path: str, endpoint: Callable[[Request], Awaitable[Response]], *, method: str, shown_path: str, operation: Mapping[str, Any]
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.shown_path = shown_path
        self.operation = {method.lower(): dict(operation)}
