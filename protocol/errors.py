"""What a peer can do wrong on the wire. Each error carries the close code that answers it."""

from protocol.closes import Close


class ProtocolError(Exception):
    """A frame that does not follow `protocol/README.md`."""

    def __init__(self, reason: str, close: Close = Close.MALFORMED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close = close
