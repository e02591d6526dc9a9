"""Sending devices away when the server stops: not all in one moment, or they would all come back in one.

A stock client reconnects within 0.1 to 2.5 s of its close, so what is spread here arrives spread at whoever serves next.
"""

import asyncio

import structlog

from protocol.closes import Close
from server.sockets import Hall

log = structlog.get_logger(__name__)

CLOSES_A_SECOND = 200
"""A few sockets are closed at once nearly; 800 take the default 4 s, and more go faster than this."""
STEP_SECONDS = 0.02


async def drain(hall: Hall, seconds: float) -> None:
    """Let nobody in any more, and close every socket with 1012, evenly over at most `seconds`.

    What a device sends until its turn comes is stored and acknowledged as ever.
    """
    hall.draining = True
    number = len(hall.devices)
    window = min(seconds, number / CLOSES_A_SECOND)
    if number:
        log.info("draining", sockets=number, seconds=round(window, 2))
    loop = asyncio.get_running_loop()
    began = loop.time()
    while hall.devices and (passed := loop.time() - began) < window:
        _close_down_to(hall, int(number * (1 - passed / window)))
        await asyncio.sleep(STEP_SECONDS)
    _close_down_to(hall, 0)


def _close_down_to(hall: Hall, number: int) -> None:
    """Close so many that at most `number` stay open. Who has been closed may still be there, waiting for the device's answer."""
    still_open = [device for device in hall.devices if not device.closed]
    for device in still_open[number:]:
        device.hang_up(Close.RESTART, "the server restarts")
