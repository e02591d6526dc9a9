"""Frames of `promptsync.v1` made by hand, and what refuses them."""

from collections.abc import Callable
from typing import TypeAlias

import msgpack
import pytest

from protocol.closes import Close
from protocol.errors import ProtocolError
from protocol.messages import FromClient, FromServer

Decode: TypeAlias = Callable[[bytes], FromClient | FromServer]


def pack(value: object) -> bytes:
    return bytes(msgpack.packb(value))


def close_of(decode: Decode, frame: bytes) -> Close:
    """The code that refuses `frame`."""
    with pytest.raises(ProtocolError) as refused:
        decode(frame)
    return refused.value.close
