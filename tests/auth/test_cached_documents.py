"""A provider's documents: how long they are kept, how often they are asked for, and what happens when they cannot be had."""

import asyncio

import pytest

from auth.cached_documents import FAILED_SECONDS, MAX_SECONDS, MIN_SECONDS, NEWER_SECONDS, STALE_SECONDS, CachedDocument
from auth.errors import ProviderUnavailable
from auth.outbound import Answer


class Source:
    """A document that counts how often it is asked for, and a clock."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.now = 1000.0
        self.asked = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.document = CachedDocument(self.fetch, self.read, clock=lambda: self.now)

    async def fetch(self) -> Answer:
        self.asked += 1
        await self.gate.wait()
        if self.down:
            raise ProviderUnavailable("down")
        return Answer({"version": self.asked}, self.headers)

    @staticmethod
    def read(content: object) -> object:
        assert isinstance(content, dict)
        return content["version"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, MIN_SECONDS),
        ({"cache_control": "public, max-age=22000, must-revalidate, no-transform"}, 22000),
        ({"cache_control": "max-age=22000", "age": "2000"}, 20000),
        ({"cache_control": "max-age=22000", "age": "junk"}, 22000),
        ({"cache_control": "MAX-AGE=3600"}, 3600),
        ({"cache_control": "max-age=0"}, MIN_SECONDS),
        ({"cache_control": "max-age=99999999"}, MAX_SECONDS),
        ({"cache_control": "max-age=" + "9" * 5000}, MAX_SECONDS),
        ({"cache_control": "max-age=-5"}, MIN_SECONDS),
        ({"cache_control": "no-store, max-age=22000"}, MIN_SECONDS),
        ({"cache_control": "s-maxage=22000"}, MIN_SECONDS),
    ],
)
async def test_a_document_is_kept_as_long_as_it_says_within_bounds(headers: dict[str, str], seconds: float) -> None:
    source = Source(**headers)
    assert await source.document.get() == 1
    source.now += seconds - 1
    assert await source.document.get() == 1
    source.now += 1
    assert await source.document.get() == 2


async def test_however_many_ask_it_is_fetched_once() -> None:
    source = Source()
    source.gate.clear()
    asking = [asyncio.create_task(source.document.get()) for _ in range(50)]
    newer = [asyncio.create_task(source.document.newer()) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    source.gate.set()
    assert await asyncio.gather(*asking[1:], *newer) == [1] * 99
    assert asking[0].cancelled()
    assert source.asked == 1


async def test_a_newer_one_is_looked_for_at_most_twice_a_minute() -> None:
    source = Source()
    await source.document.get()
    for _ in range(20):
        assert await source.document.newer() == 1
    source.now += NEWER_SECONDS
    for _ in range(20):
        assert await source.document.newer() == 2
    source.down = True
    source.now += NEWER_SECONDS
    for _ in range(20):
        assert await source.document.newer() == 2
    assert source.asked == 3


async def test_a_stale_one_is_used_for_a_day_while_no_other_can_be_had() -> None:
    source = Source()
    await source.document.get()
    source.down = True
    source.now += STALE_SECONDS - 1
    assert await source.document.get() == 1
    source.now += 1
    with pytest.raises(ProviderUnavailable):
        await source.document.get()
    source.down = False
    source.now += FAILED_SECONDS
    assert await source.document.get() == source.asked


async def test_who_does_not_answer_is_left_alone_for_a_moment() -> None:
    source = Source()
    source.down = True
    for _ in range(20):
        with pytest.raises(ProviderUnavailable):
            await source.document.get()
    assert source.asked == 1
    source.now += FAILED_SECONDS
    source.down = False
    assert await source.document.get() == 2
