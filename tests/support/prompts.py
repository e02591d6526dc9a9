"""Prompts over REST."""

from typing import Any

import httpx2


async def made(client: httpx2.AsyncClient, title: str = "Weekly report", **fields: object) -> dict[str, Any]:
    """A prompt that was made just now, as its answer shows it."""
    answer = await client.post("/api/prompts", json={"title": title, **fields})
    assert answer.status_code == 201, answer.text
    return read(answer)


def read(answer: httpx2.Response) -> dict[str, Any]:
    """The body of an answer that is no refusal."""
    assert answer.is_success, answer.text
    body = answer.json()
    assert isinstance(body, dict)
    return body
