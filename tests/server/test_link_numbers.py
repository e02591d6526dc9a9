"""A channel's number that is left and taken again on one socket, at once and in the middle of things."""

from protocol.closes import Close
from protocol.messages import Ack, CloseChannel, Closed, Hello, Open, Opened, Part, Push
from tests.support.core import typed, until
from tests.support.link_client import bare_link, link
from tests.support.running import Running, User


async def test_a_number_is_left_and_taken_again_before_welcome(server: Running, user: User) -> None:
    opening = Open(channel=0, library=user.library_id, vector=b"\x00")
    async with bare_link(server) as client:
        await client.send(Hello(token=user.sync_token), opening, CloseChannel(0), opening, Push(0, 1, typed("a", 11, 0)))
        assert (await client.expect(Closed)).code == 1000
        await client.expect(Opened)
        assert (await client.expect(Ack)).new
        await client.send(Push(0, 2, typed("b", 2, 0)))
        assert (await client.expect(Ack)).ref == 2
        await client.send(CloseChannel(0))
        assert (await client.expect(Closed)).code == 1000
        await until(lambda: not server.app.hall.devices)


async def test_what_is_joined_is_given_back_when_its_channel_is_closed(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        await client.send(Part(0, 1, bytes(1000)))
        await until(lambda: server.app.hall.joins.nbytes == 1000)
        (channel,) = server.app.hall.devices

        channel.close(Close.RESTART, "reloaded")

        assert (await client.expect(Closed)).code == Close.RESTART
        assert server.app.hall.joins.nbytes == 0
        await client.send(Part(0, 1, bytes(1000)))  # was on its way
        await client.open(0, user.library_id)
        await client.send(Push(0, 2, typed("a", 11, 0)))
        assert (await client.expect(Ack)).new
        assert server.app.hall.joins.nbytes == 0
