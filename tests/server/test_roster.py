"""The devices of one process as another is told of them: they come back as they were, and nothing else is taken for them."""

import contextlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.roster import DIALECTS, MAX_CLIENT_BYTES, Roster, Seen, pack, unpack

PROCESS = bytes(range(16))
_ID = UUID(bytes=PROCESS)
devices = st.lists(
    st.builds(
        Seen,
        session_id=st.uuids(),
        user_id=st.uuids(),
        dialect=st.sampled_from(DIALECTS),
        client=st.text(st.characters(exclude_categories=["Cs"]), max_size=16),
        may_write=st.booleans(),
        seq=st.none() | st.integers(0, 2**63 - 1),
        since=st.datetimes(timezones=st.just(UTC)),
        finished=st.booleans(),
    ),
    max_size=5,
)


@given(devices, st.booleans())
def test_devices_come_back(said: list[Seen], more: bool) -> None:
    assert unpack(pack(PROCESS, said, more=more, limit=6000)) == Roster(process=PROCESS, devices=tuple(said), more=more)


@given(devices, st.integers(17, 400))
def test_what_does_not_fit_is_left_out_and_that_is_said(said: list[Seen], limit: int) -> None:
    packed = pack(PROCESS, said, more=False, limit=limit)
    roster = unpack(packed)
    assert len(packed) <= limit
    assert roster.devices == tuple(said[: len(roster.devices)])
    assert roster.cut == (len(roster.devices) < len(said))


@given(devices, st.data())
def test_a_roster_that_was_cut_is_refused_or_ends_between_two_devices(said: list[Seen], data: st.DataObject) -> None:
    packed = pack(PROCESS, said, more=False, limit=6000)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    with contextlib.suppress(ValueError):
        assert unpack(cut).devices == tuple(said[: len(unpack(cut).devices)])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_roster_or_an_error(junk: bytes) -> None:
    for said in (junk, pack(PROCESS, [], more=False, limit=100) + junk):
        with contextlib.suppress(ValueError):
            unpack(said)


@pytest.mark.parametrize("client", ["x" * 100, "提" * 100, "\ud800" * 100])
def test_a_long_name_is_cut_between_characters(client: str) -> None:
    seen = Seen(
        session_id=_ID, user_id=_ID, dialect="yjs", client=client, may_write=True, seq=None, since=datetime(2026, 11, 22, tzinfo=UTC)
    )
    (back,) = unpack(pack(PROCESS, [seen], more=False, limit=1000)).devices
    assert len(back.client.encode()) <= MAX_CLIENT_BYTES
    assert client.encode(errors="replace").decode().startswith(back.client)
