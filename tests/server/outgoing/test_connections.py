"""Where connections go: to the very address that was checked, and never to one that is not public (cases 45 to 47 in use)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from auth.outbound import trusted
from server.config import load_settings
from server.outgoing.addresses import checked_base_url
from server.outgoing.backend import MAX_ADDRESSES
from server.outgoing.client import make_client
from server.outgoing.errors import RefusedAddress, refusal_in
from tests.support.certificates import make_certificate
from tests.support.upstream import PRIVATE, PUBLIC, Names, Upstream, counts_as_public, upstream

KEY = {"Authorization": "Bearer sk-canary"}


class World:
    """A host at what counts as a public address, a canary beside it at the same port of a private one, names, and the client."""

    def __init__(self, host: Upstream, canary: Upstream, names: Names, client: httpx2.AsyncClient, trust: ssl.SSLContext) -> None:
        self.host = host
        self.trust = trust
        self.canary = canary
        self.names = names
        self.client = client

    def url(self, name: str) -> str:
        return f"https://{name}:{self.host.port}/v1/models"

    async def refused(self, url: str) -> str:
        """The reason why the address is not asked; nothing reached the canary."""
        with pytest.raises(httpx2.ConnectError) as error:
            await self.client.get(url, headers=KEY)
        refusal = refusal_in(error.value)
        assert refusal is not None
        assert self.canary.connections == 0
        return refusal.reason


@asynccontextmanager
async def a_world(folder: Path, **settings: object) -> AsyncIterator[World]:
    files = make_certificate(folder, names=("llm.test", "other.test", "allowed.test"))
    server, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=files.cert)
    server.load_cert_chain(files.cert, files.key)
    names = Names()
    async with upstream(PUBLIC, tls=server) as host, upstream(PRIVATE, host.port) as canary:
        allowed = load_settings(**{"model_hosts": (f"allowed.test:{host.port}",), "model_connect_seconds": 3} | settings)
        async with make_client(allowed, resolve=names, is_public=counts_as_public, trust=trust, port=host.port) as client:
            yield World(host, canary, names, client, trust)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def test_a_name_is_asked_at_the_address_that_was_checked_by_its_name(world: World) -> None:
    world.names.leads("llm.test", [PUBLIC])
    answer = await world.client.get(world.url("llm.test"), headers=KEY)
    assert answer.text == "ok"
    assert f"host: llm.test:{world.host.port}".encode() in world.host.requests[0].lower()
    assert world.names.asked["llm.test"] == 1


async def test_the_certificate_is_for_the_name_not_the_address(world: World) -> None:
    world.names.leads("wrong.test", [PUBLIC])
    with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
        await world.client.get(world.url("wrong.test"), headers=KEY)
    assert world.host.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(world: World) -> None:
    world.names.leads("llm.test", [PUBLIC])
    async with make_client(load_settings(), resolve=world.names, is_public=counts_as_public, port=world.host.port) as client:
        with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
            await client.get(world.url("llm.test"), headers=KEY)
    assert world.host.requests == []


async def test_a_name_that_leads_inside_is_refused(world: World) -> None:
    world.names.leads("llm.test", [PRIVATE])
    assert await world.refused(world.url("llm.test")) == "private"


@pytest.mark.parametrize("answers", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, PUBLIC, "::1"], [PUBLIC] * (MAX_ADDRESSES + 1)])
async def test_all_of_a_name_s_addresses_must_be_public_and_few(world: World, answers: list[str]) -> None:
    world.names.leads("llm.test", answers)
    assert await world.refused(world.url("llm.test")) == "private"
    assert world.host.connections == 0


async def test_rebinding_finds_nothing_between_check_and_connection(world: World) -> None:
    world.names.leads("llm.test", [PUBLIC], [PRIVATE])
    assert (await world.client.get(world.url("llm.test"), headers=KEY)).text == "ok"
    assert world.names.asked["llm.test"] == 1
    assert world.canary.connections == 0


async def test_a_name_that_flips_between_two_calls_is_refused_at_the_second(world: World) -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()

    world.host.answer = answer_and_close
    world.names.leads("llm.test", [PUBLIC], [PRIVATE])
    assert (await world.client.get(world.url("llm.test"), headers=KEY)).text == "ok"
    assert await world.refused(world.url("llm.test")) == "private"
    assert len(world.host.requests) == 1


async def test_a_kept_connection_stays_at_the_address_that_was_checked(world: World) -> None:
    world.names.leads("llm.test", [PUBLIC], [PRIVATE])
    for _ in range(3):
        assert (await world.client.get(world.url("llm.test"), headers=KEY)).text == "ok"
    assert (world.host.connections, world.canary.connections, world.names.asked["llm.test"]) == (1, 0, 1)
    # another call at the same time needs a connection of its own, and that is checked
    world.host.answer = _never
    waiting = asyncio.create_task(world.client.get(world.url("llm.test")))
    async with asyncio.timeout(10):
        while len(world.host.requests) < 4:  # noqa: ASYNC110  # the host has no event for it
            await asyncio.sleep(0.001)
    assert await world.refused(world.url("llm.test")) == "private"
    waiting.cancel()
    await asyncio.wait([waiting])


async def _never(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_names_at_one_address_share_no_connection(world: World) -> None:
    """Or a certificate would be checked for one of them alone."""
    for name in ("llm.test", "other.test"):
        world.names.leads(name, [PUBLIC])
        assert (await world.client.get(world.url(name))).text == "ok"
    assert world.host.connections == 2


SPELLINGS = (
    "localhost", "LOCALHOST", "localhost.", "127.1", "2130706433", "0x7f.1", "0", "0.0.0.0", "[::1]", "[::]", "127.0.0.1",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127。0。0。1", "169.254.169.254", "100.100.100.200",
    "168.63.129.16", "[fd00:ec2::254]", "10.0.0.1", "127.0.0.2",
)  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_an_address_that_got_past_saving_is_refused_in_use(world: World, spelling: str) -> None:
    """With the system's own resolver, and the predicate that is used."""
    async with make_client(load_settings(), port=world.host.port) as client:
        with pytest.raises(httpx2.ConnectError) as error:
            await client.get(world.url(spelling), headers=KEY)
    refusal = refusal_in(error.value)
    assert refusal is not None
    assert refusal.reason in ("host", "private")
    assert (world.host.connections, world.canary.connections) == (0, 0)


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "fd00:ec2::254"]
)
async def test_a_name_of_the_internet_that_leads_inside_is_refused(world: World, where: str) -> None:
    world.names.leads("127.0.0.1.nip.test", [where])
    world.names.leads("metadata.google.test", [where])
    async with make_client(load_settings(), resolve=world.names, port=world.host.port) as client:
        for name in ("127.0.0.1.nip.test", "metadata.google.test"):
            with pytest.raises(httpx2.ConnectError) as error:
                await client.get(world.url(name), headers=KEY)
            assert isinstance(refusal_in(error.value), RefusedAddress)
    assert (world.host.connections, world.canary.connections) == (0, 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://llm.test/v1", "scheme"),
        ("http://llm.test:{port}/v1", "scheme"),
        ("ftp://llm.test:{port}/v1", "scheme"),
        ("https://llm.test/v1", "port"),
        ("https://llm.test:22/v1", "port"),
        ("http://allowed.test/v1", "scheme"),
    ],
)
async def test_schemes_and_ports_are_checked_in_use_too(world: World, url: str, reason: str) -> None:
    world.names.leads("llm.test", [PUBLIC])
    world.names.leads("allowed.test", [PUBLIC])
    assert await world.refused(url.format(port=world.host.port)) == reason
    assert world.host.connections == 0


async def test_what_the_operator_lists_may_be_private(world: World) -> None:
    world.names.leads("allowed.test", [PRIVATE])
    base = checked_base_url(f"http://allowed.test:{world.host.port}/v1", allowed=(f"allowed.test:{world.host.port}",))
    assert (await world.client.get(f"{base.url}/models", headers=KEY)).text == "ok"
    assert world.canary.connections == 1


async def test_what_the_operator_lists_may_be_private_at_that_port_alone(tmp_path: Path) -> None:
    async with a_world(tmp_path, model_hosts=("allowed.test:1",)) as world:
        world.names.leads("allowed.test", [PRIVATE])
        assert await world.refused(world.url("allowed.test")) == "private"


async def test_what_the_operator_lists_may_do_without_tls() -> None:
    async with upstream(PRIVATE) as ollama:
        settings = load_settings(model_hosts=f"127.0.0.2:{ollama.port}")
        async with make_client(settings) as client:
            assert (await client.get(f"http://127.0.0.2:{ollama.port}/api/tags")).text == "ok"
            with pytest.raises(httpx2.ConnectError) as error:
                await client.get(f"http://localhost:{ollama.port}/api/tags")  # as host:port, to the letter
            assert refusal_in(error.value) is not None


async def test_the_next_address_is_tried_when_one_takes_no_connection(world: World) -> None:
    world.names.leads("allowed.test", ["127.0.0.3", PUBLIC])  # nobody listens at the first
    assert (await world.client.get(world.url("allowed.test"))).text == "ok"
    world.names.leads("llm.test", [PUBLIC])
    assert (await world.client.get(world.url("llm.test"))).text == "ok"


@pytest.mark.parametrize("answers", [None, [[]], [["127.0.0.3", "127.0.0.4"]]])
async def test_a_name_that_leads_nowhere_is_unreachable_and_not_refused(world: World, answers: list[list[str]] | None) -> None:
    if answers is not None:
        world.names.leads("allowed.test", *answers)
    with pytest.raises(httpx2.ConnectError) as error:
        await world.client.get(world.url("allowed.test"))
    assert refusal_in(error.value) is None


async def test_looking_up_counts_as_connecting(tmp_path: Path) -> None:
    async def hanging(host: str, port: int) -> list[object]:
        await asyncio.Event().wait()
        return []

    settings = load_settings(model_connect_seconds=0.05)
    async with make_client(settings, resolve=hanging, is_public=counts_as_public) as client:  # type: ignore[arg-type]  # never answers
        async with asyncio.timeout(5):
            with pytest.raises(httpx2.ConnectTimeout):
                await client.get("https://llm.test/v1", timeout=100)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://{PRIVATE}:{world.host.port}")
    monkeypatch.setenv(name.lower(), f"http://{PRIVATE}:{world.host.port}")
    world.names.leads("llm.test", [PUBLIC])
    settings = load_settings()
    async with make_client(settings, resolve=world.names, is_public=counts_as_public, trust=world.trust, port=world.host.port) as client:
        assert (await client.get(world.url("llm.test"))).text == "ok"
    assert (world.host.connections, world.canary.connections) == (1, 0)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_certificates_of_the_environment_are_not_trusted(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "cert.pem" if name == "SSL_CERT_FILE" else tmp_path))
    trusted.cache_clear()  # the context is made once, when it is first asked for
    world.names.leads("llm.test", [PUBLIC])
    async with make_client(load_settings(), resolve=world.names, is_public=counts_as_public, port=world.host.port) as client:
        with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
            await client.get(world.url("llm.test"), headers=KEY)
    assert world.host.requests == []


async def test_netrc_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine llm.test login root password of-another\ndefault login root password of-another\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    world.names.leads("llm.test", [PUBLIC])
    await world.client.get(world.url("llm.test"))
    assert b"authorization" not in world.host.requests[0].lower()
