"""Token buckets in memory."""

import pytest

from server.errors import TooManyAttempts
from server.limits import Buckets, SharedReads


def test_openings_refill_with_time() -> None:
    now = [100.0]
    openings = Buckets("some", a_minute=60, clock=lambda: now[0])
    assert [openings.allow("192.0.2.1") for _ in range(61)] == [True] * 60 + [False]
    assert openings.allow("192.0.2.2")
    now[0] += 2
    assert [openings.allow("192.0.2.1") for _ in range(3)] == [True, True, False]
    now[0] -= 50
    assert not openings.allow("192.0.2.1")
    now[0] += 3600
    assert [openings.allow("192.0.2.1") for _ in range(61)] == [True] * 60 + [False]


def test_openings_remember_a_bounded_number_of_addresses() -> None:
    openings = Buckets("some", a_minute=1, clock=lambda: 0.0, most=3)
    for last in range(1, 5):
        assert openings.allow(f"192.0.2.{last}")
    assert openings.allow("192.0.2.1")
    assert not openings.allow("192.0.2.4")


def test_a_bucket_says_when_there_is_room_again() -> None:
    now = [100.0]
    bucket = Buckets("some", a_minute=2, burst=3, clock=lambda: now[0])
    for _ in range(3):
        bucket.take("192.0.2.1")
    with pytest.raises(TooManyAttempts) as refusal:
        bucket.take("192.0.2.1")
    assert refusal.value.retry_after == 30
    now[0] += 29
    with pytest.raises(TooManyAttempts) as refusal:
        bucket.take("192.0.2.1")
    assert refusal.value.retry_after == 1
    now[0] += 1
    bucket.check("192.0.2.1")
    bucket.check("192.0.2.1")
    bucket.take("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        bucket.check("192.0.2.1")


def test_who_reads_what_is_shared_may_fail_less_often_than_read() -> None:
    reads = SharedReads(a_minute=10, failures=2, clock=lambda: 0.0)
    for _ in range(6):
        reads.attempt("192.0.2.1")
    for _ in range(2):
        reads.attempt("192.0.2.1")
        reads.failed("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        reads.attempt("192.0.2.1")
    for _ in range(10):  # all at once: none of them has failed yet
        reads.attempt("192.0.2.2")
    with pytest.raises(TooManyAttempts):
        reads.attempt("192.0.2.2")
    for _ in range(10):
        reads.failed("192.0.2.2")
    with pytest.raises(TooManyAttempts) as refusal:
        reads.attempt("192.0.2.2")
    assert refusal.value.retry_after == 450
