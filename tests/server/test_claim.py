"""What a claim gives to draw from: the same ids from the same seed, in order, and unlike any others."""

from datetime import UTC, datetime, timedelta

from server.claim import Claim


def test_a_claim_draws_the_same_from_the_same_seed() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    claim, again, other = (Claim(seed=seed, now=now) for seed in (b"1" * 32, b"1" * 32, b"2" * 32))
    ids = [claim.id_for(number) for number in range(4096)]
    assert ids == [again.id_for(number) for number in range(4096)]
    assert ids == sorted(ids)
    assert len({*ids, *(claim.id_for(number) for number in range(4096, 9000))}) == 9000
    assert other.id_for(0) != claim.id_for(0)
    assert {(id.version, id.variant) for id in ids} == {(7, "specified in RFC 4122")}
    assert datetime.fromtimestamp((ids[0].int >> 80) / 1000, UTC) == now
    assert Claim(seed=b"1" * 32, now=now + timedelta(seconds=1)).id_for(0) > ids[-1]
