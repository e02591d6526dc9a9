"""How far a device has everything, by the rule of `protocol/README.md`."""

MAX_AHEAD = 4096
"""Seqs beyond a gap that are remembered. What does not fit makes the cursor lag until the next opening: that costs bytes, no content."""


class Cursor:
    """The seq up to which a device has everything, `value`; None while that is unknown.

    Seqs that come before their predecessors (an ack does, now and then) count once those have come.
    """

    def __init__(self, value: int | None = None) -> None:
        self.value = value
        self._following = False  # from synced on
        self._highest = 0  # of the updates that came before it
        self._ahead: set[int] = set()

    def forget(self) -> None:
        """The seqs known are of another epoch."""
        self.value = None
        self.suspend()

    def suspend(self) -> None:
        """The channel is gone or not synced yet: what comes from now on counts after the next `synced`."""
        self._following, self._highest = False, 0
        self._ahead.clear()

    def synced(self, seq: int) -> None:
        """Everything up to `seq` has come."""
        self._following = True
        self.value = max(seq, self._highest)
        self._ahead = {number for number in self._ahead if number > self.value}
        self._advance()

    def update(self, seq: int) -> None:
        """Somebody else's update has come."""
        self._highest = max(self._highest, seq)
        self.ours(seq)

    def ours(self, seq: int) -> None:
        """An update of ours is stored as `seq`."""
        if self._following and self.value is not None and seq <= self.value + 1:
            self.value = max(self.value, seq)
        elif len(self._ahead) < MAX_AHEAD:
            self._ahead.add(seq)
        self._advance()

    def _advance(self) -> None:
        if not self._following or self.value is None:
            return
        while self.value + 1 in self._ahead:
            self.value += 1
            self._ahead.discard(self.value)
