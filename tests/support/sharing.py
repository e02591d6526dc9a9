"""Share links over REST: made, listed, and read by whoever has their code."""

from typing import Any

import httpx2

from tests.support.rest import code_of


async def shared(client: httpx2.AsyncClient, prompt_id: str, body: object = None, path: str = "") -> dict[str, Any]:
    """A link that was made just now."""
    answer = await client.post(f"/api/prompts/{prompt_id}/share{path}", json=body or {})
    assert answer.status_code == 201, answer.text
    share: dict[str, Any] = answer.json()
    return share


async def listed(client: httpx2.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    """The links of a library."""
    answer = await client.get(f"/api/shares{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["shares"]
    return found


async def read(nobody: httpx2.AsyncClient, code: str) -> dict[str, Any]:
    """What the code opens."""
    answer = await nobody.get(f"/api/prompt-source/{code}")
    assert answer.status_code == 200, answer.text
    source: dict[str, Any] = answer.json()
    return source


async def opens_nothing(nobody: httpx2.AsyncClient, code: str) -> None:
    """The code answers exactly as one that was never given out."""
    answer, unknown = [await nobody.get(f"/api/prompt-source/{each}") for each in (code, "0" * 32)]
    assert (answer.status_code, code_of(answer), answer.content) == (404, "not_found", unknown.content)
    assert answer.headers.keys() == unknown.headers.keys()
