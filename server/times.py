"""The clock of a running server, and times as the document has them: in ms since 1970, as JSON does."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time now, as a running server has it."""
    return datetime.now(UTC)


def moment(milliseconds: int) -> datetime:
    """A time in ms since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def ms(moment: datetime) -> int:
    """The ms since 1970."""
    return int(moment.timestamp() * 1000)
