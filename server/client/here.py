"""Who is here: what others say of themselves, and what this device does."""

import json
from typing import Any

from crdt.awareness import GONE, Entry, decode, encode
from crdt.errors import InvalidPresence

RENEW_SECONDS = 15.0
"""A state that is not renewed for twice as long is removed by the server."""


class Here:
    """The states of everybody in a library by client id, and our own under an id of this device's choice."""

    def __init__(self, client: int) -> None:
        self._client = client
        self._clock = 0
        self._own: str | None = None
        self._clocks: dict[int, int] = {}
        self.states: dict[int, dict[str, Any]] = {}

    def hear(self, entries: bytes) -> None:
        """Take in what the server says; what cannot be read is left out."""
        try:
            heard = decode(entries)
        except InvalidPresence:
            return
        for client, clock, state in heard:
            known = self._clocks.get(client, -1)
            if state == GONE and clock >= known:
                self.states.pop(client, None)
                self._clocks.pop(client, None)
            elif state != GONE and clock > known:
                self.states[client] = json.loads(state)
                self._clocks[client] = clock

    def clear(self) -> None:
        """The channel is gone: the next one tells everybody anew."""
        self.states.clear()
        self._clocks.clear()

    def say(self, state: dict[str, Any] | None) -> bytes:
        """The message that says this of us; None: that we are gone."""
        self._own = None if state is None else json.dumps(state, ensure_ascii=False)
        self._clock += 1
        return encode([Entry(self._client, self._clock, GONE if self._own is None else self._own)])

    def renewed(self) -> bytes | None:
        """The message that says again what we have said of us; None where there is nothing to say."""
        if self._own is None:
            return None
        self._clock += 1
        return encode([Entry(self._client, self._clock, self._own)])
