"""Times as the document has them, in ms since 1970, and as JSON does."""

from datetime import UTC, datetime


def moment(milliseconds: int) -> datetime:
    """A time in ms since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def ms(moment: datetime) -> int:
    """The ms since 1970."""
    return int(moment.timestamp() * 1000)
