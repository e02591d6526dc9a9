"""Updates that `inspect` accepts, that Yrs merges, and that a document breaks on."""

from tests.support.core import varint

NO_PARENT = bytes.fromhex("02030b00000305010161027b7d4602050162047472756503030027010162016b0207000b0302070002080600")
"""Found by mutation: a struct whose parent is no type. A document refuses it (clients 11 and 3, from clock 0 on)."""


def nested_types(depth: int) -> bytes:
    """Client 11 makes an array in an array in an array. Deleting the outermost of 100,000 ends the process: Yrs recurses."""
    structs = [b"\x07\x01\x01a\x00", *(b"\x07\x00\x0b" + varint(clock) + b"\x00" for clock in range(depth - 1))]
    return b"\x01" + varint(depth) + b"\x0b\x00" + b"".join(structs) + b"\x00"


OUTERMOST_DELETED = bytes.fromhex("00010b010001")
"""Client 11's first clock is deleted."""
