from server.client.backoff import LEAST_SECONDS, MOST_SECONDS, STABLE_SECONDS, Backoff


def test_the_ceiling_doubles_up_to_the_most() -> None:
    backoff = Backoff(lambda: 1.0)
    delays = [backoff.delay(0) for _ in range(12)]
    assert delays[:4] == [LEAST_SECONDS, 2 * LEAST_SECONDS, 4 * LEAST_SECONDS, 8 * LEAST_SECONDS]
    assert delays[-1] == MOST_SECONDS
    assert max(delays) == MOST_SECONDS


def test_the_whole_delay_is_drawn() -> None:
    assert Backoff(lambda: 0.0).delay(0) == 0
    assert Backoff(lambda: 0.5).delay(0) == LEAST_SECONDS / 2


def test_only_what_lasted_begins_anew() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.delay(0)
    backoff.worked(100)
    assert backoff.delay(100 + STABLE_SECONDS / 2) == 32 * LEAST_SECONDS
    backoff.worked(200)
    assert backoff.delay(200 + STABLE_SECONDS) == LEAST_SECONDS


def test_a_long_outage_breaks_nothing() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.delay(0) for _ in range(5000)][-1] == MOST_SECONDS
