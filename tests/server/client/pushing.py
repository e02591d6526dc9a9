"""A program that pushes without end and prints each number once `push` has returned: `python -m tests.server.client.pushing URL FOLDER`."""

import asyncio
import itertools
import sys
from uuid import UUID

from crdt.replica import Replica
from server.client import connect

LIBRARY = UUID(int=1)


async def main(url: str, folder: str) -> None:
    replica = Replica()
    async with connect(url, "token", queue=folder) as client:
        library = await client.open(LIBRARY, replica)
        for number in itertools.count():
            await library.push(replica.write_prompt(f"{number}", "x" * (number * 37 % 2000)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
