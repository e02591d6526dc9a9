"""Pushes in parts that have not ended yet, of all sockets: bounded, and apart from the updates that are being read.

Whoever begins one may take as long as it likes, or never end it. So past the bound nobody is kept from writing: the push that was begun
first is given up, and fails alone once its last part comes.
"""

from typing import Protocol


class Joining(Protocol):
    """A socket whose push comes in parts."""

    def __hash__(self) -> int: ...

    def give_up(self) -> None:
        """Forget what has come of the push; its end is answered with an error."""


class Joins:
    """Counts what is joined, `bound` bytes of it at most, besides that of one socket alone."""

    def __init__(self, bound: int) -> None:
        self.nbytes = 0
        self._bound = bound
        self._sizes: dict[Joining, int] = {}  # those that began first come first

    def hold(self, who: Joining, nbytes: int) -> None:
        """So much of its push has come by now; nothing: it has ended, or is given up."""
        self.nbytes += nbytes - self._sizes.get(who, 0)
        if nbytes:
            self._sizes[who] = nbytes
        else:
            self._sizes.pop(who, None)
        while self.nbytes > self._bound and len(self._sizes) > 1:
            first = next(iter(self._sizes))
            self.nbytes -= self._sizes.pop(first)
            first.give_up()
