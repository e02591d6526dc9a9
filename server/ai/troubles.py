"""What went wrong with a call, whatever was raised: why, what the provider said about it, and whether asking again may help."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import structlog

from auth.model_secret import ModelSecret
from server.ai.failures import ModelFailed, Outcome
from server.ai.masking import masked
from server.ai.refusals import Refusal, outcome_of, read_refusal
from server.outgoing.errors import MAX_CAUSES, AnswerTooLarge, Redirected, refusal_in

MAX_RETRY_AFTER = 24 * 3600
"""Seconds that a provider may ask to wait; more is told as this."""
SHORT_WAIT = 5
"""Seconds of a `Retry-After` that are waited for here; whoever is asked to wait longer is told so."""
_AGAIN = frozenset({500, 502, 503, 529})
"""Statuses that pass: the provider's own trouble of a moment. 529 is Anthropic's, and means that it is overloaded."""

log = structlog.get_logger(__name__)


class Said(Exception):
    """A provider tells of a failure after its good status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("the provider tells of a failure")
        self.refusal = refusal


class Broken(Exception):
    """What a provider sends is not what its protocol says, or is more than is read; the outcome says which."""

    def __init__(self, outcome: Outcome, said: str = "") -> None:
        super().__init__(outcome.value)
        self.outcome = outcome
        self.said = said


class Trouble(Exception):
    """A call has failed.

    `wait` is in seconds, at least so long before asking again; None: that would not help, or nobody should wait so long.
    """

    def __init__(self, failed: ModelFailed, wait: float | None = None, refusal: Refusal | None = None) -> None:
        super().__init__(failed.outcome.value)
        self.failed = failed
        self.wait = wait
        self.refusal = refusal

    @property
    def status(self) -> int | None:
        """That the provider refused with."""
        return None if self.refusal is None else self.refusal.status


def trouble_of(error: Exception, secret: ModelSecret, *, answered: bool) -> Trouble:
    """What a failure that was raised while calling a provider means. `answered`: its answer had begun to come."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, Broken):
        return Trouble(ModelFailed(error.outcome, error.said))
    if isinstance(error, Said):
        return _refused(error.refusal, secret, None)
    if (refused := refusal_in(error)) is not None:
        return Trouble(ModelFailed(Outcome.REFUSED_ADDRESS, refused.reason))
    response = getattr(error, "response", None)  # the SDKs' errors of a status have it
    if isinstance(response, httpx2.Response) and response.status_code >= 300:
        return _of_response(response, secret)
    return _on_the_way(error, answered)


def _of_response(response: httpx2.Response, secret: ModelSecret) -> Trouble:
    if response.is_redirect:
        return Trouble(ModelFailed(Outcome.FAILED, "the provider sends elsewhere, and is not followed"))
    refusal = read_refusal(response.status_code, response.content if response.is_stream_consumed or response.is_closed else b"")
    return _refused(refusal, secret, retry_after(response.headers.get("retry-after"), datetime.now(UTC)))


def _refused(refusal: Refusal, secret: ModelSecret, wait: int | None) -> Trouble:
    outcome = outcome_of(refusal)
    failed = ModelFailed(outcome, masked(refusal.message, secret), retry_after=wait)
    if outcome is Outcome.RATE_LIMITED:
        return Trouble(failed, wait if wait is not None and wait <= SHORT_WAIT else None, refusal)
    if refusal.status in _AGAIN:
        return Trouble(failed, (wait or 0) if (wait or 0) <= SHORT_WAIT else None, refusal)
    return Trouble(failed, None, refusal)


def _on_the_way(error: Exception, answered: bool) -> Trouble:
    for cause in _causes(error):
        match cause:
            case AnswerTooLarge():
                return Trouble(ModelFailed(Outcome.TOO_LARGE))
            case Redirected():
                return Trouble(ModelFailed(Outcome.FAILED, "the provider sends elsewhere, and is not followed"))
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return Trouble(ModelFailed(Outcome.UNREACHABLE), wait=0)
            case httpx2.PoolTimeout():
                return Trouble(ModelFailed(Outcome.UNREACHABLE))
            case TimeoutError() | httpx2.TimeoutException():
                return Trouble(ModelFailed(Outcome.TIMEOUT))
            case httpx2.SSEError():
                return Trouble(ModelFailed(Outcome.TOO_LARGE))  # its type was looked at before: what is left is its size
            case httpx2.NetworkError() | httpx2.RemoteProtocolError():
                return Trouble(ModelFailed(Outcome.CUT_OFF if answered else Outcome.UNREACHABLE))
            case json.JSONDecodeError() | RecursionError() | UnicodeError() | httpx2.HTTPError():
                return Trouble(ModelFailed(Outcome.FAILED))
    log.error("model_call_broken", error=type(error).__name__)  # not what it says: that may hold anything
    return Trouble(ModelFailed(Outcome.FAILED))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def retry_after(value: str | None, now: datetime) -> int | None:
    """The seconds in a `Retry-After` (RFC 9110, 10.2.3: seconds or a date), None where it says nothing that can be read."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return min(int(value.strip()[:9]), MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(value)
        return min(max(0, round((until - now).total_seconds())), MAX_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError):
        return None
