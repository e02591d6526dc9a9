import socket
from contextlib import ExitStack, suppress

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


def test_sockets_for_several_processes_share_one_port_and_each_gets_its_part() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(each) for each in listen(load_settings(host="127.0.0.1", port=0), sockets=4)]
        address = listeners[0].getsockname()
        assert [each.getsockname() for each in listeners] == [address] * 4
        for _ in range(400):
            stack.enter_context(socket.create_connection(address))
        shares = []
        for listener in listeners:
            listener.setblocking(False)
            share = 0
            with suppress(BlockingIOError):
                while True:
                    stack.enter_context(listener.accept()[0])
                    share += 1
            shares.append(share)

    assert sum(shares) == 400
    assert min(shares) > 50, "100 each, give or take 9"


@pytest.mark.parametrize("sockets", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2])
def test_a_port_that_another_server_has_is_taken_however_many_processes_either_has(sockets: int, theirs: int) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(each) for each in listen(load_settings(host="127.0.0.1", port=0), sockets=theirs)]
        with pytest.raises(CannotListen, match="in use"):
            listen(load_settings(host="127.0.0.1", port=others[0].getsockname()[1]), sockets=sockets)
