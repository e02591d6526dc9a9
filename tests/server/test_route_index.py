"""The route that stands before all others: what it finds is what would have been found by asking each of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, NoMatchFound, Route
from starlette.types import Scope

from server.routes.route_index import RouteIndex

PATHS = (
    *("/", "/healthz", "/things", "/things/{thing}", "/things/all", "/things/{thing}/parts", "/things/{rest:path}", "/api/things"),
    *("/api/{kind}", "/api/things/{thing}", "/api/things/all", "/api/{kind}/all", "/api/others/{rest:path}", "/{any}/all/{thing}"),
)
SEGMENTS = ("", "api", "things", "others", "all", "parts", "healthz", "x", "{thing}")


async def _nothing(_: Request) -> Response:
    return Response()


def _asking(method: str, path: str) -> Scope:
    return {"type": "http", "method": method, "path": path, "root_path": ""}


@given(
    st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["GET", "POST"])), max_size=12),
    st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=5).map(lambda segments: "/" + "/".join(segments)),
    st.sampled_from(["GET", "POST", "DELETE"]),
)
def test_finds_the_route_that_would_be_found_in_turn_or_none(served: list[tuple[str, str]], path: str, method: str) -> None:
    routes = [Route(served_path, _nothing, methods=[served_method]) for served_path, served_method in served]
    asking = _asking(method, path)
    taking = [route for route in routes if route.matches(asking)[0] == Match.FULL]

    match, found = RouteIndex((route, [route.path]) for route in routes).matches(asking)

    if match == Match.FULL:
        assert found["promptsync.route"] is taking[0]
        assert found["path_params"] == taking[0].matches(asking)[1]["path_params"]
    else:
        assert match == Match.NONE
        assert not any("{" not in route.path for route in taking), "a path without parameters is known"


def test_knows_no_address_by_name() -> None:
    with pytest.raises(NoMatchFound):
        RouteIndex([]).url_path_for("thing")
