"""One side of a `promptsync.v1` conversation in a few words, for tests of the other."""

from uuid import UUID

from protocol.closes import Close
from protocol.codec import encode
from protocol.messages import Error, FromClient, Hello, Open
from protocol.session import ServerSession
from protocol.states import State

UPDATE_BYTES = 1000
CHANNELS = 3
LIBRARY = UUID("6f1b2a3c-0000-4000-8000-000000000001")
HELLO = Hello(token="token")


def open_(channel: int = 0) -> Open:
    return Open(channel=channel, library=LIBRARY, vector=b"\x00")


def new_session(*said: FromClient) -> ServerSession:
    """A session in which all this was said."""
    session = ServerSession(max_update_bytes=UPDATE_BYTES, max_channels=CHANNELS)
    for message in said:
        session.receive(encode(message))
    assert session.goodbye is None
    return session


def say(session: ServerSession, message: FromClient) -> FromClient | Error | None:
    return session.receive(encode(message))


def error_of(answer: FromClient | Error | None) -> tuple[int | None, int | None, str]:
    assert isinstance(answer, Error)
    return answer.channel, answer.ref, answer.code


def close_of(session: ServerSession) -> Close:
    assert session.goodbye is not None
    assert session.state is State.CLOSED
    return session.goodbye.code
