"""Every operation of the OpenAPI document is asked for what the document allows and for what it does not, on a real server.

Schemathesis makes the requests, the same ones in each run: OPENAPI_SEED=7 makes others, OPENAPI_EXAMPLES=200 more of them.
"""

import json
import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.rest import PASSWORD, code_of
from tests.support.running import Running, User

SEED = int(os.environ.get("OPENAPI_SEED", "20261126"))
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "4"))
"""Requests of each kind to each operation."""
ALLOWED, FORBIDDEN = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance]
SOCIAL = frozenset(
    {
        "POST /api/auth/social/google",
        "GET /api/auth/social/google/start",
        "POST /api/auth/social/google/start",
        "POST /api/auth/social/google/finish",
        "GET /api/auth/social/wechat/start",
        "POST /api/auth/social/wechat/start",
        "POST /api/auth/social/wechat",
    }
)
PUBLIC = (
    frozenset(
        {
            "POST /api/auth/register",
            "POST /api/auth/register/confirm",
            "POST /api/auth/login",
            "POST /api/auth/refresh",
            "POST /api/auth/password/forgot",
            "POST /api/auth/password/reset",
            "GET /api/prompt-source/{code}",
        }
    )
    | SOCIAL
)
"""Operations that need no token; every other one has to ask for one."""
NOT_SIGNED_IN = {
    "POST /api/auth/logout": "it ends the session that everything else is asked with",
    "POST /api/auth/reauthenticate": "a password that is made up is a wrong one, and answered with 401",
    "DELETE /api/users/me": "it ends the account that everything else is asked by",
}
"""Operations that are asked without a token, or with a bad one, only."""
NOTHING_TO_FORBID = frozenset(
    {
        "POST /api/auth/email/verification",
        "GET /api/users/me",
        "DELETE /api/users/me",
        "GET /api/auth/sessions",
        "GET /api/libraries",
        "GET /api/models/config",
        "GET /api/auth/social/google/start",
        "POST /api/auth/social/google/start",
        "GET /api/auth/identities",
        "POST /api/auth/identities/google/start",
        "GET /api/auth/social/wechat/start",
        "POST /api/auth/social/wechat/start",
        "POST /api/auth/identities/wechat/start",
    }
)
"""Operations without parameters and bodies."""
WITH_A_PATH_ALONE = frozenset(
    {
        "DELETE /api/auth/identities/{identity_id}",
        "GET /api/libraries/{library_id}",
        "DELETE /api/libraries/{library_id}",
        "GET /api/libraries/{library_id}/restore-points",
        "GET /api/prompt-source/{code}",
        "DELETE /api/auth/sessions/{session_id}",
        "GET /api/admin/users/{user_id}",
        "DELETE /api/admin/users/{user_id}",
        "DELETE /api/admin/users/{user_id}/sessions",
        "POST /api/admin/users/{user_id}/disable",
        "POST /api/admin/users/{user_id}/enable",
    }
)
"""Operations of which only the path can be wrong."""
BEFORE_THE_TOKEN = frozenset({"too_large", "not_found", "method_not_allowed", "malformed_address"})
"""What is wrong with a request before it is known what it asks for: its size, and an address that leads nowhere."""
OPERATIONS = """
    POST /api/auth/register
    POST /api/auth/login
    POST /api/auth/refresh
    POST /api/auth/logout
    POST /api/auth/social/google
    GET /api/auth/social/google/start
    POST /api/auth/social/google/start
    POST /api/auth/social/google/finish
    GET /api/auth/identities
    POST /api/auth/identities/google
    POST /api/auth/identities/google/start
    POST /api/auth/identities/google/finish
    DELETE /api/auth/identities/{identity_id}
    GET /api/auth/sessions
    DELETE /api/auth/sessions/{session_id}
    POST /api/auth/reauthenticate
    GET /api/admin/users
    GET /api/admin/users/{user_id}
    DELETE /api/admin/users/{user_id}
    POST /api/admin/users/{user_id}/disable
    POST /api/admin/users/{user_id}/enable
    DELETE /api/admin/users/{user_id}/sessions
    PUT /api/admin/users/{user_id}/role
    GET /api/admin/audit
    POST /api/auth/register/confirm
    POST /api/auth/email
    POST /api/auth/email/verification
    POST /api/auth/email/verify
    POST /api/auth/email/confirm
    POST /api/auth/password
    POST /api/auth/password/forgot
    POST /api/auth/password/reset
    GET /api/auth/social/wechat/start
    POST /api/auth/social/wechat/start
    POST /api/auth/social/wechat
    POST /api/auth/identities/wechat/start
    POST /api/auth/identities/wechat
    GET /api/users/me
    PATCH /api/users/me
    DELETE /api/users/me
    GET /api/users/me/activity
    GET /api/users/me/preferences
    PATCH /api/users/me/preferences
    GET /api/libraries
    POST /api/libraries
    GET /api/libraries/{library_id}
    DELETE /api/libraries/{library_id}
    GET /api/libraries/{library_id}/restore-points
    POST /api/libraries/{library_id}/restore
    GET /api/library/stats
    GET /api/export
    GET /api/models/config
    GET /api/models/config/{config_id}
    PUT /api/models/config/{config_id}
    DELETE /api/models/config/{config_id}
    POST /api/models/config/{config_id}/validate
    POST /api/models/config/{config_id}/rotate
    GET /api/prompts
    POST /api/prompts
    POST /api/prompts/batch
    GET /api/prompts/{prompt_id}
    PUT /api/prompts/{prompt_id}
    PATCH /api/prompts/{prompt_id}
    DELETE /api/prompts/{prompt_id}
    POST /api/prompts/{prompt_id}/restore
    GET /api/prompts/{prompt_id}/history
    POST /api/prompts/{prompt_id}/history
    GET /api/prompts/{prompt_id}/history/{version}
    DELETE /api/prompts/{prompt_id}/history/{version}
    POST /api/prompts/{prompt_id}/history/{version}/restore
    GET /api/prompts/{prompt_id}/diff
    PUT /api/prompts/{prompt_id}/current
    PUT /api/prompts/{prompt_id}/labels/{label}
    DELETE /api/prompts/{prompt_id}/labels/{label}
    POST /api/prompts/{prompt_id}/share
    GET /api/shares
    DELETE /api/shares/{share_id}
    GET /api/prompt-source/{code}
    GET /api/categories
    POST /api/categories
    GET /api/categories/{category_id}
    PATCH /api/categories/{category_id}
    DELETE /api/categories/{category_id}
    POST /api/categories/{category_id}/restore
    GET /api/tags
    PATCH /api/tags/{tag}
    DELETE /api/tags/{tag}
    POST /api/tags/merge
    GET /api/models
    POST /api/optimize
    POST /api/prompts/{prompt_id}/optimize
    GET /api/templates
    POST /api/templates
    GET /api/templates/{template_id}
    PATCH /api/templates/{template_id}
    DELETE /api/templates/{template_id}
    POST /api/templates/{template_id}/restore
    GET /api/usage
    GET /api/variables
    PUT /api/variables/{name}
    DELETE /api/variables/{name}
    POST /api/import
    GET /api/sync/status
    POST /api/sync/force
    POST /api/sync/{library_id}
"""
LABELS = [line.strip() for line in OPERATIONS.strip().splitlines()]
repeatable = settings(max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@schemathesis.serializer("application/msgpack")
def _octets(context: Any, value: Any) -> bytes:
    return value.to_bytes() if hasattr(value, "to_bytes") and not isinstance(value, int) else bytes(getattr(value, "data", value))


class Described:
    """The server's OpenAPI document, and the requests that can be made from it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.text = json.dumps(document, ensure_ascii=False)
        bare = json.loads(self.text)
        del bare["components"]["securitySchemes"]  # the token is not schemathesis's to make up, or to leave out
        for operation in _operations(bare).values():
            operation.pop("security", None)
        self._schema = schemathesis.openapi.from_dict(bare)
        self._schema.config.checks.negative_data_rejection.expected_statuses.append("413")  # too much of something is wrong as well
        self._strategies: dict[Any, st.SearchStrategy[Case[Any]]] = {}

    def cases(self, label: str, mode: GenerationMode, ids: Mapping[str, str], library: str | None) -> st.SearchStrategy[Case[Any]]:
        """Requests that the document allows or forbids; the path as given, where something is."""
        key = (label, mode, *ids.items(), library)
        if key not in self._strategies:
            operation = self._schema.find_operation_by_label(label)
            assert operation is not None
            query = {"library": library} if library is not None and any(each.name == "library" for each in operation.query) else None
            self._strategies[key] = operation.as_strategy(mode, path_parameters=dict(ids) or None, query=query)
        return self._strategies[key]


def _operations(document: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{method.upper()} {path}": each for path, methods in document["paths"].items() for method, each in methods.items()}


@pytest.fixture(scope="module")
async def described(server: Running) -> Described:
    print(f"OPENAPI_SEED={SEED}")
    async with server.http() as client:
        return Described((await client.get("/openapi.json")).json())


@pytest.fixture
async def client(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.http() as client:
        yield client


@pytest.fixture
async def ids(server: Running, user: User, label: str) -> dict[str, list[str]]:
    """Ids of what is there, by the name that they have in the operation's path."""
    found = {"tag": ["work", "zwei"], "name": ["thing", "other"], "category_id": ["cat-writing"]}
    async with server.http(user) as client:
        if "{prompt_id}" in label or "{tag}" in label:
            made = [
                (await client.post("/api/prompts", json={"title": "p", "optimized_text": "t", "tags": found["tag"]})).json() for _ in "ab"
            ]
            await client.delete(f"/api/prompts/{made[1]['id']}")
            found |= {"prompt_id": [each["id"] for each in made], "version": ["1", made[0]["version_id"]], "label": ["production"]}
            await client.put(f"/api/prompts/{made[0]['id']}/labels/production", json={"version": "1"})
        if "{share_id}" in label or "{code}" in label:
            prompt = (await client.post("/api/prompts", json={"title": "p"})).json()["id"]
            share = (await client.post(f"/api/prompts/{prompt}/share", json={})).json()
            found |= {"share_id": [share["id"]], "code": [share["code"]]}
        if "{config_id}" in label:
            body = {"provider": "deepseek"}  # without a key: no provider is asked
            found["config_id"] = [(await client.put("/api/models/config/thing", json=body)).json()["id"]]
        if "{template_id}" in label:
            found["template_id"] = [(await client.post("/api/templates", json={"name": "n"})).json()["id"]]
        if "{name}" in label:
            await client.put("/api/variables/thing", json={"value": "x"})
    if "{identity_id}" in label:
        found["identity_id"] = [str(await server.identity(user))]
    if "/api/admin/" in label:
        await server.execute("UPDATE users SET role = 'admin' WHERE id = $1", user.id)
    if "{user_id}" in label:
        found["user_id"] = [str((await server.user()).id)]
    if "{session_id}" in label:
        found["session_id"] = [await _another_session(server, user)]
    if "{library_id}" in label:
        found["library_id"] = [str(user.library_id), str(await server.library(user))]  # one's own cannot be deleted
    return found


async def _another_session(server: Running, user: User) -> str:
    session_id = str(uuid4())
    await server.execute(
        "INSERT INTO sessions (id, user_id, device_id, device_name, platform, refresh_key, idle_expires_at, expires_at, authenticated_at)"
        " SELECT $1, user_id, $1, 'd', 'p', refresh_key, idle_expires_at, expires_at, authenticated_at FROM sessions WHERE id = $2",
        session_id,
        user.session_id,
    )
    return session_id


async def send(client: httpx2.AsyncClient, case: Case[Any], token: str | None) -> httpx2.Response:
    kept = ("method", "url", "headers", "params", "data", "json", "files")
    arguments = case.as_transport_kwargs(base_url=str(client.base_url))
    asked = requests.Request(**{name: value for name, value in arguments.items() if name in kept}).prepare()
    asked.headers.pop("Authorization", None)
    headers = {**asked.headers, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    return await client.request(str(asked.method), str(asked.url), headers=headers, content=asked.body)  # type: ignore[arg-type]  # bytes or text


def check(described: Described, case: Case[Any], answer: httpx2.Response, more: Collection[Any] = ()) -> None:
    """Never an error of ours; as the document says; and where something is wrong with the request, nothing of it is repeated."""
    case.validate_response(answer, checks=[*CHECKS, *more])
    if answer.is_error:
        code_of(answer)
    if answer.status_code == 422:
        told = json.dumps({name: answer.json().get(name) for name in ("title", "detail", "errors")}, ensure_ascii=False)
        sent = [case.body, dict(case.query or {}), dict(case.path_parameters or {}), dict(case.headers or {})]
        assert not [text for text in _texts(sent) if text in told and text not in described.text]


def _texts(value: Any) -> Iterator[str]:
    """The texts in a request that are long enough not to be found anywhere by chance."""
    match value:
        case str() if len(value) > 5:
            yield value
        case dict():
            for name, each in value.items():
                yield from _texts(name)
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


def _kinds() -> Iterator[Any]:
    for label in LABELS:
        if label not in NOT_SIGNED_IN:
            yield pytest.param(label, ALLOWED, id=f"{label}, allowed")
        if label not in NOT_SIGNED_IN and label not in NOTHING_TO_FORBID:
            yield pytest.param(label, FORBIDDEN, id=f"{label}, forbidden")


@pytest.mark.parametrize(("label", "mode"), list(_kinds()))
@seed(SEED)
@repeatable
@given(data=st.data())
async def test_what_is_asked_is_answered_as_the_document_says(
    described: Described,
    client: httpx2.AsyncClient,
    user: User,
    ids: dict[str, list[str]],
    label: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    names = [part[1:-1] for part in label.split("/") if part.startswith("{")]
    is_aimed = bool(names) and data.draw(st.booleans()) and not (mode is FORBIDDEN and label in WITH_A_PATH_ALONE)
    path = {name: data.draw(st.sampled_from(ids[name])) for name in names} if is_aimed else {}
    case = data.draw(described.cases(label, mode, path, data.draw(st.sampled_from([str(user.library_id), str(user.library_id), None]))))
    answer = await send(client, case, user.access_token)
    check(described, case, answer, [negative_data_rejection])
    assert label in PUBLIC or answer.status_code != 401 or code_of(answer) == "invalid_credentials"


@pytest.mark.parametrize("label", LABELS)
@seed(SEED)
@repeatable
@given(data=st.data())
async def test_without_a_token_or_with_a_bad_one_it_is_refused(
    described: Described, client: httpx2.AsyncClient, label: str, data: st.DataObject
) -> None:
    mode = data.draw(st.sampled_from([ALLOWED] if label in NOTHING_TO_FORBID else [ALLOWED, FORBIDDEN]))
    case = data.draw(described.cases(label, mode, {}, None))
    answer = await send(client, case, data.draw(st.sampled_from([None, "garbage", "a.b.c"])))
    check(described, case, answer)
    if label not in PUBLIC and not (mode is FORBIDDEN and answer.is_error and code_of(answer) in BEFORE_THE_TOKEN):
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_every_operation_is_asked_for(described: Described) -> None:
    operations = _operations(described.document)
    assert set(LABELS) == set(operations)
    assert {label for label, operation in operations.items() if "security" not in operation} == PUBLIC
    assert all(operation["summary"] and "422" in operation["responses"] for operation in operations.values())


async def test_the_examples_can_be_sent_as_they_are(described: Described, client: httpx2.AsyncClient, user: User) -> None:
    client.headers["Authorization"] = f"Bearer {user.access_token}"
    sent = 0
    for label, operation in _operations(described.document).items():
        method, path = label.split(" ")
        for example in _examples(described.document, operation) if "{" not in path else ():
            answer = await client.request(method, path, json=example)
            assert answer.is_success or label in PUBLIC or _lacks_the_model(answer), (label, answer.text)
            sent += 1
    assert sent >= 6


def _lacks_the_model(answer: httpx2.Response) -> bool:
    """Whether all that is wrong with an example is that nobody here has configured the model that it names."""
    return bool(answer.json().get("detail") == "model_config_id")


def _examples(document: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Any]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return list(document["components"]["schemas"].get(name, {}).get("examples", ()))


async def test_signing_out_is_answered_as_the_document_says(described: Described, client: httpx2.AsyncClient, user: User) -> None:
    answers = [await client.post("/api/auth/logout", headers={"Authorization": f"Bearer {user.access_token}"}) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [204, 204]


async def test_showing_that_it_is_you_and_leaving_are_answered_as_the_document_says(
    described: Described, client: httpx2.AsyncClient, user: User
) -> None:
    client.headers["Authorization"] = f"Bearer {user.access_token}"
    wrong = await client.post("/api/auth/reauthenticate", json={"password": "wrong"})
    assert (wrong.status_code, code_of(wrong)) == (401, "invalid_credentials")
    assert (await client.post("/api/auth/reauthenticate", json={"password": PASSWORD})).status_code == 204
    assert [(await client.delete("/api/users/me")).status_code for _ in "ab"] == [204, 401]
