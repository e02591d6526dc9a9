"""Why a call of a model did not succeed: one word for each cause, whatever the provider calls it."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    INVALID_KEY = "invalid_key"
    """The provider does not know the key, or it may not use this model."""
    NO_QUOTA = "no_quota"
    """The account at the provider has no credit left."""
    RATE_LIMITED = "rate_limited"
    UNKNOWN_MODEL = "unknown_model"
    REJECTED = "rejected"
    """The provider does not take the request: a parameter, its length, or what it says."""
    REFUSED_ADDRESS = "refused_address"
    """The address is none that this server asks."""
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CUT_OFF = "cut_off"
    """The answer broke off."""
    TOO_LARGE = "too_large"
    """More came than an answer may have."""
    EMPTY = "empty"
    """The model answered nothing."""
    FAILED = "failed"
    """The provider failed, or spoke otherwise than its protocol says."""
    CANCELLED = "cancelled"
    """Whoever asked has gone."""


class ModelFailed(Exception):
    """A call of a model did not succeed.

    `said` is what the provider said about it, at most 300 characters and without anything secret; empty where it said nothing useful.
    `retry_after` is in seconds, None where the provider did not say.
    """

    def __init__(self, outcome: Outcome, said: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome
        self.said = said
        self.retry_after = retry_after
