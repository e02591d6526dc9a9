"""What is told where a limit is reached: to the client, in the log, and as a number."""

from math import ceil

import structlog

from server import metrics
from server.errors import TooManyAttempts

log = structlog.get_logger(__name__)


def note(limit: str, **facts: object) -> None:
    """Count and log that this limit was reached. `facts` name nobody: no mail address, and nothing that signs anybody in."""
    metrics.limited.labels(limit).inc()
    log.info("limited", limit=limit, **facts)


def refusal(limit: str, seconds: float) -> TooManyAttempts:
    """The refusal to raise, noted; after so many seconds there is room again, of which at least one is told."""
    refused = TooManyAttempts(ceil(seconds))
    note(limit, retry_after=refused.retry_after)
    return refused
