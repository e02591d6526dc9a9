"""Awareness messages of y-protocols: who is there, as JSON states by client id.

varUint n, then n times (varUint client id, varUint clock, varString JSON). `null` says that the client is gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from crdt import varint
from crdt.errors import InvalidPresence

# Name, colour, cursor and selections take under 1 KB. A state goes to every member every 15 s, so even this is generous; it leaves
# room for a small picture, which some editors put there.
MAX_STATE_BYTES = 64 * 1024
# Stock clients send on what they hear, so a message may hold the states of a whole room (presence.MAX_STATES) and no more.
MAX_ENTRIES = 1_000

GONE = "null"


class Entry(NamedTuple):
    """One client's state: its id, the clock it counts its states with, and JSON text of an object, or GONE."""

    client: int
    clock: int
    state: str


def decode(message: bytes) -> list[Entry]:
    """Read an awareness message strictly.

    Raises InvalidPresence where a client would fail on it: y-protocols hands each state to JSON.parse, and an error there breaks the
    provider of everyone who hears it. So do states that are neither object nor null, and more than the bounds above.
    """
    try:
        count, at = varint.read(message, 0)
        if count > MAX_ENTRIES or count * 3 > len(message) - at:
            raise InvalidPresence("too many states", at)
        entries = []
        for _ in range(count):
            client, at = varint.read(message, at)
            clock, at = varint.read(message, at)
            size, at = varint.read(message, at)
            if size > MAX_STATE_BYTES:
                raise InvalidPresence("state too large", at)
            if size > len(message) - at:
                raise InvalidPresence("message ends early", len(message))
            entries.append(Entry(client, clock, _state(message[at : at + size], at)))
            at += size
    except IndexError:
        raise InvalidPresence("message ends early", len(message)) from None
    except ValueError as error:
        raise InvalidPresence(str(error)) from None
    if at != len(message):
        raise InvalidPresence("bytes after the message", at)
    return entries


def encode(entries: Sequence[Entry]) -> bytes:
    """The message that holds these entries; of none, `00`, which keeps a quiet connection alive."""
    out = bytearray()
    varint.append(out, len(entries))
    for client, clock, state in entries:
        varint.append(out, client)
        varint.append(out, clock)
        held = state.encode()
        varint.append(out, len(held))
        out += held
    return bytes(out)


def _state(held: bytes, at: int) -> str:
    try:
        text = held.decode()
    except UnicodeDecodeError:
        raise InvalidPresence("state that is not UTF-8", at) from None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidPresence("state that is not JSON", at) from None
    if value is None:
        return GONE
    if not isinstance(value, dict):
        raise InvalidPresence("state that is no object", at)
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity: Python's JSON knows them, JSON.parse throws
