"""The form of refresh tokens, and the rule of their rotation over every history that a device and a thief can make."""

import base64
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auth.errors import InvalidRefreshToken
from auth.refresh_tokens import KEY_BYTES, MAX_TOKEN_CHARACTERS, Standing, Verdict, decide, make, parse

NOW = datetime(2026, 11, 22, tzinfo=UTC)
GRACE = timedelta(seconds=30)
keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
counters = st.integers(0, 2**63 - 1)


@given(st.uuids(), counters, keys)
def test_a_token_is_read_as_it_was_made(session_id: UUID, counter: int, key: bytes) -> None:
    token = make(session_id, counter, key)
    presented = parse(token)
    assert (presented.session_id, presented.counter) == (session_id, counter)
    assert presented.is_genuine(key)
    assert len(token) <= MAX_TOKEN_CHARACTERS
    assert make(session_id, counter, key) == token


@given(st.uuids(), counters, keys, keys)
def test_another_key_makes_another_token(session_id: UUID, counter: int, key: bytes, other: bytes) -> None:
    assert parse(make(session_id, counter, key)).is_genuine(other) is (key == other)


@given(st.uuids(), counters, keys, st.data())
def test_a_token_that_is_cut_or_changed_is_refused(session_id: UUID, counter: int, key: bytes, data: st.DataObject) -> None:
    token = make(session_id, counter, key)
    cut = data.draw(st.integers(0, len(token) - 1))
    with pytest.raises(InvalidRefreshToken):
        parse(token[:cut])
    other = data.draw(st.sampled_from("ABCxyz019-_=. \n").filter(lambda character: character != token[cut]))
    with pytest.raises(InvalidRefreshToken):
        parse(token[:cut] + other + token[cut + 1 :])


@given(st.text(max_size=120) | st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRefreshToken):
        parse(text)


def test_one_token_has_one_spelling() -> None:
    token = make(UUID(int=5), 300, bytes(KEY_BYTES))
    for other in (token + "=", token + "==", token + "\n", " " + token, token.replace("_", "/").replace("-", "+") + "=", token + "A"):
        with pytest.raises(InvalidRefreshToken):
            parse(other)


@given(counters, counters, st.booleans(), st.integers(0, 120))
def test_the_rule_is_the_table_in_the_design(counter: int, presented: int, used: bool, seconds: int) -> None:
    standing = Standing(counter=counter, rotated_at=NOW, current_used=used, ended=False)
    behind = counter - presented
    expected = (
        Verdict.ROTATE
        if behind == 0
        else Verdict.AHEAD
        if behind < 0
        else Verdict.REPEAT
        if behind == 1 and (seconds <= 30 or not used)
        else Verdict.REUSED
    )
    assert decide(standing, presented, now=NOW + timedelta(seconds=seconds), grace=GRACE) is expected
    assert decide(replace(standing, ended=True), presented, now=NOW, grace=GRACE) is Verdict.ENDED


class OwnerAndThief(RuleBasedStateMachine):
    """Two holders of one token line refresh, use and wait as they like; both follow the contract (use what was given last)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.standing = Standing(counter=0, rotated_at=NOW, current_used=False, ended=False)
        self.held = {"owner": 0, "thief": 0}
        self.last_to_rotate: str | None = None

    def refresh(self, who: str) -> Verdict:
        verdict = decide(self.standing, self.held[who], now=self.now, grace=GRACE)
        if verdict is Verdict.ROTATE:
            self.standing = replace(self.standing, counter=self.standing.counter + 1, rotated_at=self.now, current_used=False)
            self.last_to_rotate = who
        if verdict in {Verdict.ROTATE, Verdict.REPEAT}:
            self.held[who] = self.standing.counter
        if verdict is Verdict.REUSED:
            self.standing = replace(self.standing, ended=True)
        return verdict

    @rule(who=st.sampled_from(["owner", "thief"]))
    def refreshes(self, who: str) -> None:
        before = self.standing
        verdict = self.refresh(who)
        if verdict is Verdict.REPEAT:
            assert self.standing == before

    @rule(who=st.sampled_from(["owner", "thief"]))
    def uses_what_it_has(self, who: str) -> None:
        if self.held[who] == self.standing.counter:
            self.standing = replace(self.standing, current_used=True)

    @rule(seconds=st.integers(0, 100_000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: not self.standing.ended and self.held["owner"] != self.held["thief"])
    @rule()
    def who_is_left_behind_after_use_and_grace_is_found_out(self) -> None:
        self.uses_what_it_has(max(self.held, key=lambda who: self.held[who]))
        self.now += GRACE + timedelta(seconds=1)
        assert self.refresh(min(self.held, key=lambda who: self.held[who])) is Verdict.REUSED

    @invariant()
    def the_holder_of_the_newest_token_is_never_turned_away_from_a_living_session(self) -> None:
        newest = max(self.held.values())
        assert newest == self.standing.counter
        if not self.standing.ended:
            assert decide(self.standing, newest, now=self.now, grace=GRACE) is Verdict.ROTATE


TestOwnerAndThief = OwnerAndThief.TestCase
