import socket

import pytest

from server.config import load_settings
from server.transport import CannotListen, listen


def test_a_port_that_is_taken_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: .*in use.*HOST and PORT"):
            listen(load_settings(host="127.0.0.1", port=port))


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "256.1.1.1", "192.0.2.1"])
def test_a_host_that_cannot_be_ours_is_said_with_the_remedy(host: str) -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on .*HOST and PORT"):
        listen(load_settings(host=host, port=0))
