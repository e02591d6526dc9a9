"""Unsigned integers as lib0 writes them: 7 bits a byte, lowest first, the top bit says that more follow."""

from __future__ import annotations

# JavaScript's Number.MAX_SAFE_INTEGER: what lib0 reads at most, and what Yrs masks client ids to.
MAX_INTEGER = 2**53 - 1
# 53 bits in groups of 7. lib0 and Yrs write no more; an unending run of continuation bytes stops here.
MAX_BYTES = 8


def append(out: bytearray, value: int) -> None:
    """Append `value` (0 to 2^53 - 1, not checked) to `out`."""
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def read(data: bytes, at: int) -> tuple[int, int]:
    """Read the integer at index `at` and return it with the index after it.

    Raises:
        IndexError: the data ends inside of it.
        ValueError: it is longer than 8 bytes, above 2^53 - 1, or not in its shortest form (lib0 and Yrs write no other,
            so that equal numbers are equal bytes).
    """
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift >= 7 * MAX_BYTES:
            raise ValueError("integer of more than 8 bytes")
    if value > MAX_INTEGER:
        raise ValueError("integer above 2^53 - 1")
    if not byte:
        raise ValueError("integer longer than need be")
    return value, at
