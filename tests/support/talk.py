"""A ClientSession spoken to message by message, and the messages that it hears from the start."""

from uuid import UUID

from protocol.client import ClientSession
from protocol.client_events import Event
from protocol.codec import decode_from_client, encode
from protocol.messages import FromClient, FromServer, Opened, Status, Synced, Welcome
from tests.support.small_server import LIMITS

ONE, TWO = UUID(int=1), UUID(int=2)
NOTHING = b"\x00"
WELCOME = Welcome(session=ONE, user=TWO, limits=LIMITS, time=1)


def opened(channel: int = 0, library: UUID = ONE, *, epoch: int = 1, head: int = 4) -> Opened:
    return Opened(channel=channel, library=library, role="owner", epoch=epoch, head=head, vector=NOTHING)


def status(*, epoch: int = 1, ask: bool = False) -> Status:
    return Status(channel=0, head=4, epoch=epoch, vector=NOTHING, unsaved=0, storing=True, ask=ask)


class Talk:
    """A session and what it sends."""

    def __init__(self, *libraries: UUID, **options: int) -> None:
        self.session = ClientSession(client_name="test", client_version="1", **options)
        for library in libraries or (ONE,):
            self.session.follow(library)

    def hear(self, *messages: FromServer) -> list[Event | None]:
        return [self.session.receive(encode(message)) for message in messages]

    def sent(self) -> list[FromClient]:
        messages = []
        while (frame := self.session.next_frame()) is not None:
            messages.append(decode_from_client(frame))
        return messages

    def ready(self) -> "Talk":
        """Connected, welcome, and library ONE synced at 4."""
        self.session.connect(token="t")
        self.session.open(ONE, NOTHING)
        self.sent()
        self.hear(WELCOME, opened(), Synced(0, 4, b"\0\0"))
        return self
