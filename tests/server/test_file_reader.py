"""Reading files in a process of its own."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from server import file_reader
from server.errors import TookTooLong, UnknownFile
from server.file_reader import FileReader
from server.transfer.reading import Reading, read
from tests.support.samples import backup

LIBRARY = UUID(int=7)


@pytest.fixture
async def reader() -> AsyncIterator[FileReader]:
    reader = FileReader(largest=1 << 20)
    yield reader
    reader.close()


async def test_a_file_is_read_as_it_would_be_here(reader: FileReader) -> None:
    (packed,) = await reader.read(backup(), LIBRARY, 5)
    found = pickle.loads(packed)  # noqa: S301  # made by ourselves
    assert isinstance(found, Reading)
    assert found == read(backup(), LIBRARY, 5)


async def test_a_refusal_comes_as_it_is_and_the_next_file_is_read(reader: FileReader) -> None:
    with pytest.raises(UnknownFile):
        await reader.read(b"{}", LIBRARY, 5)
    assert await reader.read(backup(), LIBRARY, 5)


async def test_a_file_that_takes_too_long_ends_the_process_and_the_next_is_read(
    reader: FileReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reader.read(backup(), LIBRARY, 5)
    with monkeypatch.context() as patched:
        patched.setattr(file_reader, "READ_SECONDS", 0.0)
        with pytest.raises(TookTooLong):
            await reader.read(backup(), LIBRARY, 5)
    assert await reader.read(backup(), LIBRARY, 5)


async def test_the_process_ends_when_nobody_has_a_file(reader: FileReader, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    close = reader._workers.close

    def closed() -> None:
        close()
        ended.set()

    monkeypatch.setattr(reader._workers, "close", closed)
    monkeypatch.setattr(file_reader, "IDLE_SECONDS", 0.01)
    await reader.read(backup(), LIBRARY, 5)
    await asyncio.wait_for(ended.wait(), 10)
    assert await reader.read(backup(), LIBRARY, 5)


async def test_files_wait_for_memory(reader: FileReader) -> None:
    async with reader.budget.taken(1 << 20), reader.budget.taken(1 << 20):
        third = asyncio.create_task(reader.budget.taken(1).__aenter__())
        await asyncio.sleep(0)
        assert not third.done()
    await asyncio.wait_for(third, 10)
