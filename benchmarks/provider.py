"""A provider of models in a process of its own, until its standard input is closed: `python -m benchmarks.provider` prints its port.

The model's name says how it answers: `stamped-20-0.005` has 20 pieces with 5 ms before each, and each says when it was sent, by the clock
that all processes of a machine share.
"""

import asyncio
import json
import sys
import time

from tests.support.scripted_provider import CHUNKED, Asked, Line, scripted_provider


async def stamped(asked: Asked, line: Line) -> None:
    """A stream of chat completions, each piece the time at which it is sent."""
    _, pieces, pause = asked.body["model"].split("-")
    await line.head(200, CHUNKED)
    for _ in range(int(pieces)):
        if float(pause):
            await asyncio.sleep(float(pause))
        await _event(line, {"choices": [{"index": 0, "delta": {"content": f"{time.monotonic():.6f} "}}]})
    await _event(line, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await _event(line, {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": int(pieces)}})
    await line.chunk(b"data: [DONE]\n\n")
    await line.chunk(b"")


async def _event(line: Line, event: object) -> None:
    await line.chunk(b"data: %b\n\n" % json.dumps(event).encode())


async def main() -> None:
    async with scripted_provider() as provider:
        provider.answer(stamped)
        print(provider.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
