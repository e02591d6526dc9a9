"""A walk over every operation there is, as the running application documents them: who may not come in is refused at each, in the same way.

Operations that are added are walked too. What is public is listed here, and nothing else is.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from websockets import Subprotocol

from protocol.closes import Close
from protocol.messages import Closed, Hello, Open
from server.routes.documented import Documented
from server.routes.route_index import RouteIndex
from server.times import utc_now
from tests.support.doors import Door, doors
from tests.support.link_client import bare_link
from tests.support.rest import PASSWORD, code_of
from tests.support.running import Running, User, closed

PUBLIC = frozenset(
    {
        "POST /api/auth/register",
        "POST /api/auth/register/confirm",
        "POST /api/auth/login",
        "POST /api/auth/refresh",
        "POST /api/auth/password/forgot",
        "POST /api/auth/password/reset",
        "GET /api/auth/social/google/start",
        "POST /api/auth/social/google/start",
        "POST /api/auth/social/google/finish",
        "POST /api/auth/social/google",
        "GET /api/auth/social/wechat/start",
        "POST /api/auth/social/wechat/start",
        "POST /api/auth/social/wechat",
        "GET /api/prompt-source/{code}",
    }
)
"""What asks for no access token."""
ENDS_SESSIONS = frozenset({"POST /api/auth/logout"})
"""What a session that has ended may ask once more, and gets 204."""
CALLBACKS = frozenset({"/api/auth/social/google/callback", "/api/auth/social/wechat/callback"})
UNDOCUMENTED = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"}) | CALLBACKS
"""What operators ask, the document itself, and where other providers send browsers back to."""
BODIES: dict[str, Any] = {
    "PATCH /api/tags/{tag}": {"label": "other"},
    "POST /api/tags/merge": {"tags": ["tag"], "into": "other"},
    "PUT /api/prompts/{prompt_id}/current": {"version": "1"},
    "PUT /api/prompts/{prompt_id}/labels/{label}": {"version": "1"},
}
"""Bodies where the least one of the schema would be refused before anything is looked up."""
FOR_ADMINS = "/api/admin/"
"""Below this everybody but an administrator gets 403, whether there is such a thing or not."""
OF_ONES_OWN = frozenset({"PUT /api/variables/{name}", "PUT /api/models/config/{config_id}"})
"""What makes the thing that its address names, in the library of whoever asks."""
NOTHING_YET = {
    "POST /api/prompts/{prompt_id}/optimize": "a new account has no model that could be asked",
    "POST /api/libraries/{library_id}/restore": "a new library has no restore point",
    "DELETE /api/auth/identities/{identity_id}": "a new account signs in with its password alone",
}
"""Where there is nothing for the owner either, and why."""
IDS = ("prompt_id", "library_id", "share_id", "template_id", "category_id", "session_id", "user_id", "identity_id", "config_id")
NO_SUCH = {name: str(uuid4()) for name in IDS}


@pytest.fixture(scope="module")
async def all_doors(server: Running) -> list[Door]:
    async with server.http() as client:
        return doors((await client.get("/openapi.json")).json())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way not to be let in, and the code that says so."""

    code: str
    token: Callable[[Running], Awaitable[str | None]]


async def _none(server: Running) -> str | None:
    return None


async def _garbage(server: Running) -> str | None:
    return "eyJhbGciOiJub25lIn0.e30."


async def _expired(server: Running) -> str | None:
    user, now = await server.user(), utc_now()
    times = {"now": now - timedelta(hours=1), "expires_at": now - timedelta(minutes=50)}
    return server.services.tokens.access(user_id=user.id, session_id=user.session_id, generation=0, **times)


async def _revoked(server: Running) -> str | None:
    user = await server.user()
    async with server.http(user) as client:
        assert (await client.post("/api/auth/logout")).status_code == 204
    return user.access_token


async def _disabled(server: Running) -> str | None:
    user = await server.user()
    await server.execute("UPDATE users SET disabled_at = now() WHERE id = $1", user.id)
    return user.access_token


async def _of_another_session(server: Running) -> str | None:
    user, other, now = await server.user(), await server.user(), utc_now()
    return server.services.tokens.access(
        user_id=user.id, session_id=other.session_id, generation=0, now=now, expires_at=now + timedelta(minutes=5)
    )


async def _sync(server: Running) -> str | None:
    return (await server.user()).sync_token


async def _refresh(server: Running) -> str | None:
    return (await server.user()).refresh_token


REFUSALS = {
    "no token": Refusal("not_authenticated", _none),
    "no token of ours": Refusal("invalid_token", _garbage),
    "a token whose time is over": Refusal("token_expired", _expired),
    "a session that was ended": Refusal("session_ended", _revoked),
    "a user that was disabled": Refusal("session_ended", _disabled),
    "a user with another's session": Refusal("session_ended", _of_another_session),
    "a token for sockets": Refusal("invalid_token", _sync),
    "a refresh token": Refusal("invalid_token", _refresh),
}


async def ask(client: httpx2.AsyncClient, door: Door, ids: Mapping[str, str], library: str | None = None) -> httpx2.Response:
    """Ask for what the door is about, with the least that has the right form."""
    given = door.body()
    if given is None:
        return await client.request(door.method, door.target(ids, library))
    kind, body = given
    body = BODIES.get(str(door), body)
    content = body.encode() if isinstance(body, str) and kind != "application/json" else json.dumps(body).encode()
    return await client.request(door.method, door.target(ids, library), content=content, headers={"Content-Type": kind})


class Ids(dict[str, str]):
    """An id for each name: one that nothing has, where none is given."""

    def __missing__(self, name: str) -> str:
        return NO_SUCH.get(name, "no-such-thing")


# --- who is not signed in


def test_what_is_public_is_listed(all_doors: list[Door]) -> None:
    assert {str(door) for door in all_doors if not door.needs_token} == PUBLIC
    assert len(all_doors) > 50


async def test_nothing_is_served_that_is_not_documented(server: Running, all_doors: list[Door]) -> None:
    api = server.app._api
    assert isinstance(api, FastAPI)
    shown = {route.path: route.shown_path for route in api.routes if isinstance(route, Documented)}
    paths = {getattr(route, "path", "") for route in _flat(api) if not isinstance(route, RouteIndex)}
    assert {shown.get(path, re.sub(r":[a-z]+}", "}", path)) for path in paths} - UNDOCUMENTED == {door.path for door in all_doors}


def _flat(router: Any) -> list[Any]:
    """Its routes, and those of the routers that it includes."""
    included = [route for route in router.routes if hasattr(route, "original_router")]
    return [each for each in router.routes if each not in included] + [each for one in included for each in _flat(one.original_router)]


@pytest.mark.parametrize("how", REFUSALS)
async def test_every_door_refuses_who_is_not_signed_in(server: Running, all_doors: list[Door], how: str) -> None:
    token = await REFUSALS[how].token(server)
    wrong = []
    async with server.http() as client:
        client.headers.update({"Authorization": f"Bearer {token}"} if token is not None else {})
        for door in all_doors:
            if not door.needs_token or (str(door) in ENDS_SESSIONS and REFUSALS[how].code == "session_ended"):
                continue
            answer = await ask(client, door, Ids())
            found = (answer.status_code, code_of(answer), answer.headers.get("www-authenticate"))
            if found != (401, REFUSALS[how].code, "Bearer"):
                wrong.append((str(door), found))
            assert answer.headers["cache-control"] == "no-store"
            assert token is None or token not in answer.text
    assert wrong == []


async def test_public_doors_ask_for_no_token(server: Running, all_doors: list[Door]) -> None:
    async with server.http() as client:
        for door in all_doors:
            if not door.needs_token:
                answer = await ask(client, door, Ids())
                assert answer.status_code < 500
                assert answer.is_success or code_of(answer) not in ("not_authenticated", "invalid_token"), str(door)


async def test_no_door_opens_by_another_method(server: Running, user: User, all_doors: list[Door]) -> None:
    found = []
    async with server.http(user) as client:
        for target in {door.target(Ids()) for door in all_doors}:
            allowed = {door.method for door in all_doors if door.leads(target)}
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - allowed:
                answer = await client.request(method, target, headers={"X-HTTP-Method-Override": min(allowed)})
                code = "method_not_allowed" if method == "HEAD" else code_of(answer)
                if answer.status_code not in (404, 405) or code not in ("method_not_allowed", "not_found"):
                    found.append((method, target, answer.status_code))
    assert found == []


# --- somebody else


@pytest.fixture
async def owner(server: Running) -> User:
    return await server.user()


@pytest.fixture
async def ids(server: Running, owner: User) -> dict[str, str]:
    """Ids of what the owner has, by the names that they have in paths."""
    async with server.http(owner) as client:

        async def made(path: str, **body: Any) -> dict[str, Any]:
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            found: dict[str, Any] = answer.json()
            return found

        prompt = await made("/api/prompts", title="secret plan", optimized_text="secret text", tags=["secret-tag"])
        await client.put(f"/api/prompts/{prompt['id']}/labels/production", json={"version": "1"})
        await client.put("/api/variables/secret_variable", json={"value": "secret value"})
        share = await made(f"/api/prompts/{prompt['id']}/share")
        await client.put("/api/models/config/secret-config", json={"provider": "deepseek", "api_key": "sk-0123456789abcdef0123"})
        return {
            "user_id": str(owner.id),
            "session_id": await another_session(client),
            "prompt_id": prompt["id"],
            "version": "1",
            "label": "production",
            "share_id": share["id"],
            "template_id": (await made("/api/templates", name="secret template"))["id"],
            "category_id": (await made("/api/categories", name="secret category"))["id"],
            "library_id": str(owner.library_id),
            "config_id": "secret-config",
            "tag": "secret-tag",
            "name": "secret_variable",
        }


async def another_session(client: httpx2.AsyncClient) -> str:
    """The id of a session of the same user on another device."""
    email = (await client.get("/api/users/me")).json()["email"]
    login = (await client.post("/api/auth/login", json={"email": email, "password": PASSWORD})).json()
    claims = login["access_token"].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sid"])


async def possessions(server: Running, owner: User) -> Any:
    """All that the owner has."""
    async with server.http(owner) as client:
        exported = (await client.get("/api/export")).json()
        exported.pop("exported_at", None)
        return exported, (await client.get("/api/shares")).json(), (await client.get("/api/libraries")).json()


async def test_what_another_user_has_is_like_what_nobody_has(
    server: Running, owner: User, ids: dict[str, str], all_doors: list[Door]
) -> None:
    stranger = await server.user()
    before, walked = await possessions(server, owner), []
    async with server.http(stranger) as client:
        for door in all_doors:
            if not door.needs_token or str(door) in ENDS_SESSIONS | OF_ONES_OWN:
                continue
            if door.names:
                walked.append(str(door))
                theirs, nobodys = await ask(client, door, Ids(ids)), await ask(client, door, Ids())
                refusal = (403, "forbidden") if door.path.startswith(FOR_ADMINS) else (404, "not_found")
                assert (theirs.status_code, code_of(theirs)) == refusal, (str(door), theirs.text)
                assert told(theirs) == told(nobodys), str(door)
            if door.takes_library:
                walked.append(f"{door}?library")
                theirs = await ask(client, door, Ids(ids), ids["library_id"])
                nobodys = await ask(client, door, Ids(ids), NO_SUCH["library_id"])
                assert (theirs.status_code, code_of(theirs)) == (404, "not_found"), (str(door), theirs.text)
                assert told(theirs) == told(nobodys), str(door)
    assert len(walked) > 50
    assert await possessions(server, owner) == before


def told(answer: httpx2.Response) -> tuple[int, bytes, list[str]]:
    """What an answer tells, but for the request's own number."""
    return (
        answer.status_code,
        answer.content,
        sorted(f"{name}: {value}" for name, value in answer.headers.items() if name != "x-request-id"),
    )


async def test_the_owner_is_let_in_at_every_one_of_these_doors(
    server: Running, owner: User, ids: dict[str, str], all_doors: list[Door]
) -> None:
    """Else the walks above would say nothing: what is asked there is right but for who asks."""
    order = {"GET": 4, "PUT": 3, "PATCH": 2, "POST": 1, "DELETE": 0}
    refused = []
    async with server.http(owner) as client:
        for door in sorted(all_doors, key=lambda door: (order[door.method], door.path), reverse=True):
            if door.needs_token and door.names and str(door) not in NOTHING_YET and not door.path.startswith(FOR_ADMINS):
                answer = await ask(client, door, Ids(ids))
                if answer.status_code in (401, 403, 404, 422):
                    refused.append((str(door), answer.text))
    assert refused == []


# --- sockets


@pytest.mark.parametrize("how", [how for how in REFUSALS if how != "a token for sockets"])
async def test_both_dialects_refuse_who_is_not_signed_in(server: Running, owner: User, how: str) -> None:
    token = await REFUSALS[how].token(server)
    offers = [] if token is None else [f"bearer.{token}"]
    stock = await server.open(f"/sync/{owner.library_id}", subprotocols=[Subprotocol(each) for each in ("yjs", *offers)])
    code, reason = await closed(stock)
    assert code == Close.UNAUTHENTICATED
    assert token is None or token not in reason
    if offers:
        async with bare_link(server, *offers) as by_offer:
            assert await by_offer.close_code() == Close.UNAUTHENTICATED
    async with bare_link(server) as by_hello:
        await by_hello.send(Hello(token=token, client_name="x", client_version="1"))
        assert await by_hello.close_code() == Close.UNAUTHENTICATED


async def test_on_sockets_too_what_another_user_has_is_like_what_nobody_has(server: Running, owner: User) -> None:
    stranger = await server.user()
    for user_id, library in ((stranger, owner.library_id), (stranger, uuid4())):
        socket = await server.open(f"/sync/{library}", subprotocols=[Subprotocol("yjs"), Subprotocol(f"bearer.{user_id.sync_token}")])
        assert (await closed(socket))[0] == Close.NOT_FOUND
    told_ = []
    async with bare_link(server, f"bearer.{stranger.sync_token}") as client:
        await client.hello()
        for library in (owner.library_id, uuid4()):
            await client.send(Open(channel=3, library=library, vector=b"\0"))
            told_.append(await client.expect(Closed))
    assert told_[0] == told_[1]
    assert told_[0].code == Close.NOT_FOUND
