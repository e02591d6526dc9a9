"""Who is present in one room, and who may say so.

A stock client sends on what it hears about others, and its old socket may linger while it is back on a new one. So a socket speaks for one
client id only, the one it claimed, and what it says about others is dropped without a word.

How a server uses it, with one Presence a room and an opaque hashable `owner` for each socket:

- a message came: `receive`, then send the relay to every member that is `greeted` (the sender too: it needs the traffic to stay connected),
  after the greeting to the sender if it has just claimed its id;
- a socket did not claim within GREETING_DELAY: send it `greeting`;
- a socket asks for presence: send it `greeting`;
- a socket closed: send what `leave` returns to the greeted members;
- every few seconds: send what `expire` returns to the greeted members;
- other servers hold sockets of the same room: tell them what `spoken` returns after a `receive`, and what `leave` returned;
  give what they tell to `overhear`, and send the relay to the greeted members.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from crdt.awareness import GONE, Entry, decode, encode

__all__ = ["EXPIRY", "GONE", "GREETING_DELAY", "MAX_BYTES", "MAX_HEARD", "MAX_STATES", "Entry", "Presence", "Received", "decode", "encode"]

GREETING_DELAY = 1.0  # seconds: a stock client claims at once on opening; who is silent for longer watches only
EXPIRY = 30.0  # seconds: clients renew after 15 and drop after 30 what was not renewed
MAX_STATES = 1_000  # live states a room: each is relayed to every member every 15 s
MAX_BYTES = 1024 * 1024  # UTF-8 bytes of all states of a room: what a greeting may weigh
MAX_HEARD = 10_000  # client ids remembered for a socket that only watches; past that it may not claim any more


_AFAR = object()
"""The owner of what other servers' sockets have claimed."""


class Received(NamedTuple):
    """What a message led to: entries for the greeted members, and whether the socket claimed its id with it."""

    relay: list[Entry]
    claimed: bool


class _State:
    __slots__ = ("clock", "owner", "renewed", "size", "text", "user")

    def __init__(self, owner: Hashable, user: Hashable) -> None:
        self.owner = owner
        self.user = user
        self.clock = -1
        self.text = ""
        self.size = 0
        self.renewed = 0.0


class Presence:
    """The live states of a room. Times are seconds on any one clock, given by the caller."""

    __slots__ = ("_bytes", "_claims", "_greeted", "_heard", "_states")

    def __init__(self) -> None:
        self._states: dict[int, _State] = {}  # by client id; all of them live
        self._claims: dict[Hashable, int] = {}  # owner -> the client id it speaks for
        self._greeted: set[Hashable] = set()
        self._heard: dict[Hashable, set[int]] = {}  # owner greeted before it claimed -> ids it was sent, and may repeat
        self._bytes = 0

    def receive(self, owner: Hashable, user: Hashable, entries: Sequence[Entry], now: float) -> Received:
        """Take a message in from a socket of `user`.

        The first message with one live entry, of an id that was not sent to this socket, makes the socket own that id. An id that is live
        through another socket passes over if the user is the same (it reconnected), and is refused otherwise. Entries of
        other ids, with clocks not newer, and those past the room's bounds are dropped; what is dropped may be said again later.
        """
        claimed = False
        client = self._claims.get(owner)
        if client is None:
            if len(entries) != 1 or not self._claim(owner, user, entries[0], now):
                return Received([], False)
            client, claimed = entries[0].client, True
        relay = [entry for entry in entries if entry.client == client and self._accept(owner, user, entry, now)]
        if relay and self._heard:
            for heard in self._heard.values():
                heard.add(client)
        return Received(relay, claimed)

    def greeting(self, owner: Hashable, user: Hashable) -> list[Entry]:
        """The live states to send to a socket, which counts as greeted from now on, and as having heard of those ids.

        A socket's own state is left out. So are, before it has claimed, the states of the same user: one of them may be
        its own from before it reconnected, and an id that it was sent could not be claimed. Hence the second greeting after the claim.
        """
        self._greeted.add(owner)
        own = self._claims.get(owner)
        if own is not None:
            return [Entry(client, state.clock, state.text) for client, state in self._states.items() if client != own]
        entries = [Entry(client, state.clock, state.text) for client, state in self._states.items() if state.user != user]
        self._heard.setdefault(owner, set()).update(entry.client for entry in entries)
        return entries

    def greeted(self, owner: Hashable) -> bool:
        """Whether the socket was greeted: until then nothing is relayed to it, or it could repeat an id as its own."""
        return owner in self._greeted

    def claimed(self, owner: Hashable) -> bool:
        """Whether the socket speaks for a client id."""
        return owner in self._claims

    def spoken(self, owner: Hashable) -> list[Entry]:
        """What the socket says of itself, as it stands: the one state it owns, or nothing."""
        client = self._claims.get(owner)
        state = None if client is None else self._states.get(client)
        return [Entry(client, state.clock, state.text)] if client is not None and state is not None and state.owner == owner else []

    def here(self) -> list[tuple[Hashable, Entry]]:
        """Every live state of a socket of this server, with its user: for another server that has just opened the room."""
        return [(state.user, Entry(client, state.clock, state.text)) for client, state in self._states.items() if state.owner is not _AFAR]

    def overhear(self, user: Hashable, entries: Sequence[Entry], now: float, *, claimed: bool) -> list[Entry]:
        """Take in what another server says of a socket of `user`; what to send to the greeted members.

        An id that is live here passes over if the socket has just `claimed` it there and the user is the same (the device is on that
        server now), at a clock that is not older, and else stays. Entries with older clocks and those past the room's bounds are dropped.
        """
        relay = [entry for entry in entries if self._overhear(user, entry, now, claimed=claimed)]
        for heard in self._heard.values():
            heard.update(entry.client for entry in relay)
        return relay

    def _overhear(self, user: Hashable, entry: Entry, now: float, *, claimed: bool) -> bool:
        state = self._states.get(entry.client)
        if state is not None and state.owner is not _AFAR:
            if not claimed or state.user != user or entry.clock < state.clock:  # a device's clock never goes back: a claim of long ago
                return False
            self._dispossess(state.owner, entry.client)
            state.owner = _AFAR
            state.renewed = now
        return self._accept(_AFAR, user, entry, now)

    def leave(self, owner: Hashable) -> list[Entry]:
        """Forget a socket that closed. Its state goes, at the same clock, unless a newer socket has taken the id over."""
        self._greeted.discard(owner)
        self._heard.pop(owner, None)
        client = self._claims.pop(owner, None)
        if client is None:
            return []
        state = self._states.get(client)
        return [self._remove(client)] if state is not None and state.owner == owner else []

    def expire(self, now: float) -> list[Entry]:
        """Remove the states that were not renewed for EXPIRY seconds. Their sockets keep their ids and may come back."""
        late = [client for client, state in self._states.items() if now - state.renewed >= EXPIRY]
        return [self._remove(client) for client in late]

    def __len__(self) -> int:
        """How many states are live."""
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """UTF-8 bytes of the live states."""
        return self._bytes

    def _claim(self, owner: Hashable, user: Hashable, entry: Entry, now: float) -> bool:
        heard = self._heard.get(owner, ())
        if entry.state == GONE or entry.client in heard or len(heard) >= MAX_HEARD:
            return False
        state = self._states.get(entry.client)
        if state is None:
            if not self._fits(entry, None):
                return False
        elif state.user != user:
            return False
        else:
            self._dispossess(state.owner, entry.client)
            state.owner = owner
            state.renewed = now
        self._claims[owner] = entry.client
        self._heard.pop(owner, None)
        return True

    def _dispossess(self, owner: Hashable, client: int) -> None:
        if owner is _AFAR:
            return
        # The older socket goes on as one that has heard of its former id, so that the two do not take it from each other in turn.
        del self._claims[owner]
        self._heard[owner] = {client, *self._states}

    def _accept(self, owner: Hashable, user: Hashable, entry: Entry, now: float) -> bool:
        state = self._states.get(entry.client)
        if state is None:
            if entry.state == GONE or not self._fits(entry, None):
                return False
            state = self._states[entry.client] = _State(owner, user)
        elif state.owner != owner or state.user != user:
            return False
        elif entry.state == GONE:
            if entry.clock < state.clock:
                return False
            self._remove(entry.client)
            return True
        elif entry.clock <= state.clock or not self._fits(entry, state):
            return False
        size = len(entry.state.encode())
        self._bytes += size - state.size
        state.clock, state.text, state.size, state.renewed = entry.clock, entry.state, size, now
        return True

    def _fits(self, entry: Entry, state: _State | None) -> bool:
        if state is None and len(self._states) >= MAX_STATES:
            return False
        return self._bytes - (state.size if state else 0) + len(entry.state.encode()) <= MAX_BYTES

    def _remove(self, client: int) -> Entry:
        state = self._states.pop(client)
        self._bytes -= state.size
        return Entry(client, state.clock, GONE)
