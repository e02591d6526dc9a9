"""Places in a list that devices sort by themselves: a fractional index, a string between any two others.

Moving something writes one register, and two devices that move different things both win. Two that put something at the same place get
equal strings, which are told apart by id.
"""

from __future__ import annotations

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""In the order of their codes, so that strings compare as they stand. What is made here never ends with the first: between "a" and "a0"
nothing fits. Others may have written such a one, the seed has: it is a bound like any other, and only that gap is none."""

_VALUES = {digit: value for value, digit in enumerate(DIGITS)}


def between(before: str | None, after: str | None) -> str:
    """A place after `before` and before `after`; None, or what is no place, is no bound. Equal or crossed bounds: after `before`."""
    before, after = _place(before), _place(after)
    if before is not None and after is not None and before >= after:
        after = None
    made = ""
    while True:
        at = len(made)
        low = _VALUES[before[at]] if before is not None and at < len(before) else 0
        high = _VALUES[after[at]] if after is not None and at < len(after) else len(DIGITS)
        if low == high:
            made += DIGITS[low]
            continue
        middle = low + 1 if after is None and before is not None and at + 1 >= len(before) else (low + high) // 2
        if low < middle < high:
            return made + DIGITS[middle]
        made += DIGITS[low]
        after = None


def spread(before: str | None, count: int) -> list[str]:
    """So many places, one behind the other, after `before`; none of them longer than need be, as places made one by one would become."""
    base, width = between(before, None), 1
    while len(DIGITS) ** width < count:
        width += 1
    return [base + _digits(number, width) + DIGITS[len(DIGITS) // 2] for number in range(count)]


def _digits(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits


def _place(text: str | None) -> str | None:
    return text if text and _VALUES.keys() >= set(text) else None
