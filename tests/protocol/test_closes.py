"""Close codes: what stock clients give up on, and what they retry."""

import pytest

from protocol.closes import Close
from protocol.errors import ProtocolError


@pytest.mark.parametrize("close", list(Close), ids=lambda close: close.name)
def test_permanent_is_what_y_websocket_gives_up_on(close: Close) -> None:
    assert close.permanent is (close in range(4400, 4500))


def test_what_needs_somebody_to_act_first_is_permanent_and_the_rest_is_not() -> None:
    acting = {Close.MALFORMED, Close.UNAUTHENTICATED, Close.FORBIDDEN, Close.NOT_FOUND, Close.TOO_LARGE}
    assert {close for close in Close if close.permanent} == acting


@pytest.mark.parametrize("close", list(Close), ids=lambda close: close.name)
def test_every_code_may_be_sent(close: Close) -> None:
    # RFC 6455, 7.4: 1005, 1006 and 1015 never appear in a frame; 4000 to 4999 are private use. 1002 and 1009 are retried for ever by
    # stock clients, so they are not ours to send.
    assert close in {1000, 1001, 1012, 1013} or 4000 <= close <= 4999


def test_a_protocol_error_is_malformed_unless_it_says_otherwise() -> None:
    assert ProtocolError("reason").close is Close.MALFORMED
    assert ProtocolError("reason", Close.TOO_LARGE).close is Close.TOO_LARGE
    assert ProtocolError("reason").reason == "reason"
