"""Who may read and write prompts: members as their roles say, and nobody without a session."""

from uuid import uuid4

import httpx2

from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running, User


async def test_who_has_signed_out_reads_and_writes_nothing(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    assert (await client.post("/api/auth/logout")).status_code == 204
    for answer in (
        await client.get("/api/prompts"),
        await client.get(f"/api/prompts/{prompt['id']}"),
        await client.post("/api/prompts", json={"title": "more"}, headers={"Idempotency-Key": "k"}),
        await client.post("/api/prompts", json={"title": 1}),
    ):
        assert (answer.status_code, code_of(answer)) == (401, "session_ended")


async def test_what_is_made_in_another_library_says_where(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    other = await server.library(user)
    for path, body in (("/api/prompts", {"title": "t"}), ("/api/categories", {"name": "n"}), ("/api/templates", {"name": "n"})):
        answer = await client.post(f"{path}?library={other}", json=body)
        assert answer.status_code == 201
        assert (await client.get(answer.headers["location"])).status_code == 200


async def test_libraries_of_others_answer_like_what_is_not_there(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    prompt, stranger = await made(client), await server.user()
    async with server.http(stranger) as other:
        theirs = await made(other)
        for path in (f"/api/prompts/{prompt['id']}", f"/api/prompts/{prompt['id']}/history", f"/api/prompts?library={user.library_id}",
                     f"/api/prompts/{prompt['id']}?library={user.library_id}", f"/api/prompts?library={uuid4()}"):  # fmt: skip
            answer = await other.get(path)
            assert (answer.status_code, code_of(answer)) == (404, "not_found"), path
        for method in ("PUT", "PATCH", "DELETE"):
            answer = await other.request(
                method, f"/api/prompts/{prompt['id']}?library={user.library_id}", json=None if method == "DELETE" else {"title": "x"}
            )
            assert answer.status_code == 404
        answer = await other.post(f"/api/prompts?library={user.library_id}", json={"title": "x"})
        assert answer.status_code == 404
        await server.add_member(user.library_id, stranger, "viewer")
        assert read(await other.get(f"/api/prompts/{prompt['id']}?library={user.library_id}"))["user_id"] == str(user.id)
        for method, path, body in (
            ("POST", "/api/prompts", {"title": "x"}),
            ("PUT", f"/api/prompts/{prompt['id']}", {"title": "x"}),
            ("DELETE", f"/api/prompts/{prompt['id']}", None),
            ("POST", "/api/prompts/batch", {"operations": [{"op": "delete", "id": prompt["id"]}]}),
        ):
            refused = await other.request(method, f"{path}?library={user.library_id}", json=body)
            assert (refused.status_code, code_of(refused)) == (403, "forbidden")
        assert read(await other.get("/api/prompts"))["prompts"] == [theirs]
    async with server.http() as nobody:
        assert code_of(await nobody.get("/api/prompts")) == "not_authenticated"
    assert read(await client.get(f"/api/prompts/{prompt['id']}")) == prompt
