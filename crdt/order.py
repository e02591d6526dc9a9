"""Places in a list that devices sort by themselves: a fractional index, a string between any two others.

Moving something writes one register, and two devices that move different things both win. Two that put something at the same place get
equal strings, which are told apart by id.
"""

from __future__ import annotations

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""In the order of their codes, so that strings compare as they stand. What is made here never ends with the first: between "a" and "a0"
nothing fits. Others may have written such a one, the seed has: it is a bound like any other, and only that gap is none."""

APPENDED_DIGITS = 4
"""Digits of what is appended at the end, which counts up: so 14 million appended one after the other stay so short."""

_VALUES = {digit: value for value, digit in enumerate(DIGITS)}


def between(before: str | None, after: str | None) -> str:
    """A place after `before` and before `after`; None, or what is no place, is no bound. Equal or crossed bounds: after `before`."""
    before, after = _place(before), _place(after)
    if before is not None and after is not None and before >= after:
        after = None
    if before is not None and after is None and (counted := _counted_up(before)) is not None:
        return counted
    made = ""
    while True:
        at = len(made)
        low = _VALUES[before[at]] if before is not None and at < len(before) else 0
        high = _VALUES[after[at]] if after is not None and at < len(after) else len(DIGITS)
        if low == high:
            made += DIGITS[low]
            continue
        middle = (low + high) // 2
        if low < middle < high:
            return made + DIGITS[middle]
        made += DIGITS[low]
        after = None


def spread(before: str | None, count: int) -> list[str]:
    """So many places, one behind the other, after `before`."""
    places = []
    for _ in range(count):
        before = between(before, None)
        places.append(before)
    return places


def _counted_up(before: str) -> str | None:
    """The next number of so many digits, one that does not end with the first; None past the last of them."""
    number = 0
    for digit in before[:APPENDED_DIGITS].ljust(APPENDED_DIGITS, DIGITS[0]):
        number = number * len(DIGITS) + _VALUES[digit]
    number += 2 if number % len(DIGITS) == len(DIGITS) - 1 else 1
    digits = ""
    for _ in range(APPENDED_DIGITS):
        number, value = divmod(number, len(DIGITS))
        digits = DIGITS[value] + digits
    return None if number else digits


def _place(text: str | None) -> str | None:
    return text if text and _VALUES.keys() >= set(text) else None
