"""Strategies for the messages of `promptsync.v1`."""

from hypothesis import strategies as st

from protocol.codec import MAX_CHANNEL, MAX_NAME_CHARACTERS, MAX_NUMBER
from protocol.messages import (
    Ack,
    CloseChannel,
    Closed,
    Error,
    FromClient,
    FromServer,
    Hello,
    Limits,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Presence,
    Push,
    Status,
    StatusAsked,
    Synced,
    Update,
    Welcome,
)

channels = st.integers(0, MAX_CHANNEL)
numbers = st.one_of(st.integers(0, 300), st.integers(0, MAX_NUMBER), st.sampled_from([2**31, 2**32 - 1, 2**32, MAX_NUMBER]))
contents = st.binary(max_size=400)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_NAME_CHARACTERS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=1000)  # of at most four bytes each: under the longest there is
limits = st.builds(Limits, update=numbers, part=numbers, channels=numbers, presence=numbers)

from_client: st.SearchStrategy[FromClient] = st.one_of(
    st.builds(Hello, token=st.none() | texts, device=st.none() | st.uuids(), client_name=names, client_version=names),
    st.builds(Open, channel=channels, library=st.uuids(), vector=contents, epoch=st.none() | numbers, cursor=st.none() | numbers),
    st.builds(Part, channels, numbers, contents),
    st.builds(Push, channels, numbers, contents),
    st.builds(Presence, channels, contents),
    st.builds(StatusAsked, channel=channels, cursor=st.none() | numbers),
    st.builds(CloseChannel, channels),
    st.builds(Ping, numbers),
)

from_server: st.SearchStrategy[FromServer] = st.one_of(
    st.builds(Welcome, session=st.uuids(), user=st.uuids(), limits=limits, time=numbers),
    st.builds(Opened, channel=channels, library=st.uuids(), role=names, epoch=numbers, head=numbers, vector=contents),
    st.builds(Part, channels, numbers, contents),
    st.builds(Synced, channels, numbers, contents),
    st.builds(Ack, channels, numbers, numbers, st.booleans()),
    st.builds(Update, channels, numbers, contents),
    st.builds(Presence, channels, contents),
    st.builds(
        Status,
        channel=channels,
        head=numbers,
        epoch=numbers,
        vector=contents,
        unsaved=numbers,
        storing=st.booleans(),
        ask=st.booleans(),
    ),
    st.builds(Error, st.none() | channels, st.none() | numbers, names, texts),
    st.builds(Closed, channels, numbers, texts),
    st.builds(Pong, numbers),
)
