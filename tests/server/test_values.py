"""JSON values: what passes comes back equal from a Yjs document, and nothing that arrives breaks the server."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map
from pydantic import Field, TypeAdapter, ValidationError

from server.routes.body import StrictRoute
from server.routes.texts import Body
from server.routes.values import MAX_DEPTH, MAX_INTEGER, MAX_VALUE_BYTES, Value, Values
from tests.support.rest import Rest, code_of, rest_api

VALUE, VALUES = TypeAdapter[Any](Value), TypeAdapter[dict[str, Any]](Values)
TEXTS = st.text(st.characters(exclude_categories=()))
"""Lone surrogates and NUL among them."""
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)
router = APIRouter(route_class=StrictRoute)


class Holder(Body):
    value: Value
    values: Values = Field(default_factory=dict)


@router.post("/values")
async def take(body: Holder) -> Holder:
    return body


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, routers=[router]) as running:
        yield running


def kind(value: object, adapter: TypeAdapter[Any] = VALUE) -> str:
    """What the value is refused for."""
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    return refused.value.errors()[0]["type"]


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@given(ANYTHING)
def test_what_passes_comes_back_from_another_document_equal(value: object) -> None:
    try:
        passed = VALUE.validate_python(value)
    except ValidationError:
        return
    assert passed == value
    here: Map[Any] = Doc[Any]().get("m", type=Map)
    here["value"] = passed
    assert here.doc is not None
    there = Doc[Any]()
    there.apply_update(here.doc.get_update())
    read: Map[Any] = there.get("m", type=Map)
    assert read["value"] == value


def test_nesting_is_bounded() -> None:
    assert VALUE.validate_python(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert kind(nested(MAX_DEPTH + 1)) == "json_depth"
    assert kind(nested(100_000)) == "json_depth"


@pytest.mark.parametrize("number", [MAX_INTEGER + 1, -MAX_INTEGER - 1, 10**400, float("nan"), float("inf"), float("-inf")])
def test_a_number_that_a_double_does_not_hold_is_refused(number: float) -> None:
    assert kind(number) == "json_number"
    assert kind([{"a": number}]) == "json_number"


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 0, -0.0, 1e300, 5e-324])
def test_any_other_number_passes(number: float) -> None:
    assert VALUE.validate_python(number) == number


@pytest.mark.parametrize("text", ["\0", "a\ud800", "\udfff"])
def test_texts_and_keys_are_whole(text: str) -> None:
    assert kind(text) == "json_text"
    assert kind([{text: 1}]) == "json_text"


@pytest.mark.parametrize("value", [b"x", (1,), {1: 2}, {"a": {1}}, object()])
def test_what_json_does_not_know_is_refused(value: object) -> None:
    assert kind(value) == "json_value"


def test_a_value_is_bounded_in_bytes() -> None:
    assert VALUE.validate_python("x" * (MAX_VALUE_BYTES - 2))
    assert kind("x" * (MAX_VALUE_BYTES - 1)) == "json_size"
    assert kind("\u5468" * (MAX_VALUE_BYTES // 3)) == "json_size"
    assert kind([0] * MAX_VALUE_BYTES) == "json_size"


@pytest.mark.parametrize("value", [None, [], "a", 1, True])
def test_an_object_is_asked_for(value: object) -> None:
    assert kind(value, VALUES) == "json_object"
    assert VALUES.validate_python({"a": value}) == {"a": value}


async def test_a_value_arrives_as_it_was_sent(rest: Rest) -> None:
    body = {"value": [{"a": [1, -0.5, "周报\n", None, True]}], "values": {"": {}}}
    response = await rest.post("/values", body)
    assert (response.status_code, response.json()) == (200, body)


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, "-" + "9" * 4000, "9007199254740993", "1e400", "[" * 5000 + "]" * 5000, "[" * 33 + "]" * 33, '"\\u0000"', '{"\\ud800":1}'],
    ids=["5000 digits", "4000 digits", "2**53 + 1", "1e400", "5000 levels", "33 levels", "NUL", "half a pair"],
)
async def test_a_value_that_breaks_other_servers_is_refused(rest: Rest, value: str) -> None:
    body = f'{{"value":{value}}}'.encode()
    response = await rest.client.post("/values", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    assert code_of(response) in {"malformed_json", "invalid_request"}
    assert value[:30] not in response.text
    assert (await rest.post("/values", {"value": json.loads("1")})).status_code == 200
