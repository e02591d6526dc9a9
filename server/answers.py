"""What a client is told of an error: the form, and the answers to what providers of models do."""

from dataclasses import dataclass

from protocol.closes import Close
from server.ai.failures import Outcome

RETRY_SECONDS = 2
"""What a client is asked to wait when the trouble is ours and short."""
MINUTE_SECONDS = 60
"""What a client is asked to wait when a provider counts by the minute."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told: over HTTP the status and code, on a socket the close code."""

    status: int
    code: str
    title: str
    close: Close
    retry_after: int | None = None


def _failure(status: int, outcome: Outcome, title: str, retry_after: int | None = None) -> Answer:
    return Answer(status, f"model_{outcome.value}", title, Close.TRY_LATER, retry_after)


_FAILURES = (
    # 409: the configuration has to be changed first. 422: the request. 502 and 504: it is between us and the provider.
    (409, Outcome.INVALID_KEY, "The provider does not take the configuration's key"),
    (409, Outcome.NO_QUOTA, "The account at the provider has no credit left"),
    (409, Outcome.UNKNOWN_MODEL, "The provider has no model of this name"),
    (422, Outcome.REJECTED, "The provider does not take this request"),
    (422, Outcome.REFUSED_ADDRESS, "The configuration's address is none that this server asks"),
    (502, Outcome.UNREACHABLE, "The provider cannot be reached"),
    (504, Outcome.TIMEOUT, "The provider takes too long"),
    (502, Outcome.CUT_OFF, "The provider's answer broke off"),
    (502, Outcome.TOO_LARGE, "The provider's answer is larger than one may be"),
    (502, Outcome.EMPTY, "The model answered nothing"),
    (502, Outcome.FAILED, "The provider failed"),
    (502, Outcome.CANCELLED, "The call was given up"),
)
MODEL_FAILURES = {outcome: _failure(status, outcome, title) for status, outcome, title in _FAILURES} | {
    Outcome.RATE_LIMITED: _failure(429, Outcome.RATE_LIMITED, "The provider was asked too often: wait", MINUTE_SECONDS)
}
MODEL_CODES = {answer.code: answer.status for answer in MODEL_FAILURES.values()} | {
    "model_disabled": 409,
    "model_incomplete": 409,
    "model_key_missing": 409,
    "model_key_elsewhere": 409,
    "model_key_unreadable": 409,
    "too_many_attempts": 429,
}
"""What every route that calls a model can refuse with."""
