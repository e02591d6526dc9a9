"""`GET /api/prompts` on a real server: filtered, sorted and in pages."""

import httpx2

from tests.support.library_replica import RestDevice
from tests.support.prompts import made, read
from tests.support.rest import code_of


async def test_lists_are_filtered_sorted_and_paged(client: httpx2.AsyncClient, device: RestDevice) -> None:
    for number in range(12):
        await made(
            client, f"Prompt {number:02}", tags=["even" if number % 2 == 0 else "odd", *(["third"] if number % 3 == 0 else [])],
            favorite=number < 4, original_text="写一份周报" if number == 5 else f"text {number}",
            category="cat-writing" if number > 8 else None,
        )  # fmt: skip

    async def titles(query: str) -> list[str]:
        return [each["title"][7:] for each in read(await client.get(f"/api/prompts?{query}"))["prompts"]]

    assert await titles("") == [f"{number:02}" for number in reversed(range(12))]
    assert await titles("sort=title&tags=even&tags=third") == ["00", "06"]
    assert await titles("sort=title&tags=even&tags=third&tags_match=any") == ["00", "02", "03", "04", "06", "08", "09", "10"]
    assert await titles("sort=-title&favorite=true") == ["03", "02", "01", "00"]
    assert await titles("sort=title&category=cat-writing") == ["09", "10", "11"]
    assert await titles("search=周报") == ["05"]
    assert await titles("search=PROMPT%20text%207") == ["07"]
    assert await titles("search=nowhere") == []
    seen: list[str] = []
    cursor = ""
    while True:
        page = read(await client.get(f"/api/prompts?sort=title&limit=5&fields=title{cursor}"))
        assert page["total"] == 12
        seen += [each["title"] for each in page["prompts"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"Prompt {number:02}" for number in range(12)]
    refused = await client.get(f"/api/prompts?sort=-title&limit=5{cursor}")
    assert (refused.status_code, code_of(refused)) == (422, "invalid_cursor")
    for wrong in (
        "limit=0",
        "limit=201",
        "sort=password",
        "cursor=abc",
        "unknown=1",
        "tags_match=some",
        "created_from=yesterday",
        "fields=",
    ):
        answer = await client.get(f"/api/prompts?{wrong}")
        assert answer.status_code == 422, wrong
