"""Large answers, written in pieces: nobody waits behind one, and one that is not read is noticed and given up."""

import asyncio

import structlog
from starlette.types import Send

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 << 10
"""An answer is written in pieces of this, so that one that is not read is noticed."""


async def send_pieces(send: Send, body: bytes, *, stall_seconds: float) -> None:
    """Send the body of an answer that was begun; it ends in the middle where none of it is read for so long."""
    try:
        for start in range(0, max(1, len(body)), PIECE_BYTES):
            piece, more = body[start : start + PIECE_BYTES], start + PIECE_BYTES < len(body)
            async with asyncio.timeout(stall_seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": more})
    except TimeoutError:
        log.info("answer_not_read", bytes=len(body))
