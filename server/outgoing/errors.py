"""What is refused of the addresses that users give, and of the answers that come from there."""

from enum import StrEnum

import httpx2

MAX_CAUSES = 16
"""Of one error that are looked at: libraries wrap it two or three times."""


class Reason(StrEnum):
    """Why an address is not asked, in a stable word."""

    FORM = "form"
    """It is no absolute address, too long, or has characters in it that an address has not."""
    SCHEME = "scheme"
    """It is not https, nor http to a host that the operator lists."""
    USERINFO = "userinfo"
    QUERY = "query"
    """It has a query or a fragment."""
    HOST = "host"
    """It names no host, or one in a spelling that is read in more than one way: `0x7f.1`, `127.1`."""
    PORT = "port"
    """It is neither 443 nor one that the operator lists."""
    PRIVATE = "private"
    """The host is, or leads to, an address that is not of the public Internet."""


class RefusedAddress(Exception):
    """This server does not ask that address. The address itself is not repeated."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class UnfitAnswer(httpx2.TransportError):
    """What came is no answer that is read here; the connection is closed."""


class AnswerTooLarge(UnfitAnswer):
    """More came than one answer may have."""


class AnswerCompressed(UnfitAnswer):
    """The answer is compressed, though it was asked for as it is: its size says nothing."""


class Redirected(UnfitAnswer):
    """The answer sends elsewhere, or to another protocol: nothing goes there, the key least of all."""


class TotalTimeout(httpx2.ReadTimeout):
    """The whole of one request took longer than a call may."""


def refusal_in(error: BaseException) -> RefusedAddress | None:
    """The refusal that an error comes from, however often libraries have wrapped it; None if it comes from something else."""
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None or isinstance(cause, RefusedAddress):
            return cause
        cause = cause.__cause__
    return None
