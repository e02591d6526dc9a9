"""Edits for the load generator: real Yjs updates, made without a document so that making them costs nothing while measuring.

Each writer types into a root text of its own, eight characters an edit, each edit leaning on the one before, as a provider
sends typing. What was typed can be read back from any document, so that a run ends with a proof that nothing went missing.
"""

from collections.abc import Iterable

from pycrdt import Doc, Text, merge_updates

from crdt.replica import Replica
from crdt.updates import inspect
from protocol.ysync import encode_update, encode_varuint

EDIT_LENGTH = 8
"""Characters, and so clocks, of one edit."""

_STRING, _HAS_ORIGIN, _NAMED_PARENT = 4, 0x80, 1


class Typist:
    """One writer's edits, in order, as payloads of update messages; made ahead by `prepare`, else when asked for."""

    def __init__(self, client: int, root: str) -> None:
        """`client` is the Yjs client id, `root` the name of the text it types into."""
        self.client = client
        self.root = root
        self.payloads: list[bytes] = []
        self._client_bytes = encode_varuint(client)

    def prepare(self, count: int) -> None:
        """Have at least `count` edits made."""
        self.payloads += [encode_update(self._edit(number)) for number in range(len(self.payloads), count)]

    def take(self, first: int, count: int) -> list[bytes]:
        """The payloads of `count` edits from number `first` on."""
        if first + count > len(self.payloads):
            self.prepare(first + count + 256)
        return self.payloads[first : first + count]

    def _edit(self, number: int) -> bytes:
        # an update of one client with one struct: an insertion at the end of the text
        clock = number * EDIT_LENGTH
        if number:
            place = bytes((_STRING | _HAS_ORIGIN,)) + self._client_bytes + encode_varuint(clock - 1)
        else:
            place = bytes((_STRING, _NAMED_PARENT, len(self.root))) + self.root.encode()
        words = b"%07d " % number
        return b"\x01\x01" + self._client_bytes + encode_varuint(clock) + place + bytes((EDIT_LENGTH,)) + words + b"\x00"

    def typed(self, count: int) -> str:
        """The text after `count` edits."""
        return "".join(f"{number:07d} " for number in range(count))

    def check(self, updates: Iterable[bytes], count: int) -> None:
        """Raise AssertionError unless a document made of `updates` (Yjs updates) holds exactly the first `count` edits."""
        parts = list(updates)
        document: Doc[Text] = Doc()
        text = document.get(self.root, type=Text)
        if parts:
            document.apply_update(merge_updates(*parts))
        found = str(text)
        assert found == self.typed(count), f"{len(found) // EDIT_LENGTH} edits of {self.client}, {count} were sent, or their order is wrong"

    def check_joined(self, merged: list[bytes], count: int) -> None:
        """The same where some edits came joined in `merged`, and all others as they are."""
        joined: set[int] = set()
        for client, start, stop in (run for update in merged for run in runs_of(update)):
            if client == self.client:
                joined.update(range(start // EDIT_LENGTH, stop // EDIT_LENGTH))
        self.check([*merged, *(self._edit(number) for number in range(count) if number not in joined)], count)


def runs_of(update: bytes) -> list[tuple[int, int, int]]:
    """The runs of clocks in `update`: client, first clock, clock after the last."""
    held = inspect(update).held
    return list(zip(held[::3], held[1::3], held[2::3], strict=True))


def library_of(size: int, *, small_edits: int = 20) -> list[bytes]:
    """A library of about `size` bytes as the updates that made it: one large, as a device brings it, then `small_edits` live edits.

    Prompts of about a kilobyte, each edited and cut a few times.
    """
    replica = Replica(client_id=7)
    words = "You are a careful translator. 请把下面的文字翻译成英文。 "
    while len(replica.dump()) < size:
        prompt = f"prompt {len(replica.prompts())}"
        replica.write_prompt(prompt, words * 15)
        for place in range(3):
            replica.edit_text(prompt, 10 + 40 * place, f"version {place}", 8)
    brought = replica.dump()
    return [brought, *(replica.edit_text(f"prompt {number}", 0, f"edit {number} ", 5) for number in range(small_edits))]
