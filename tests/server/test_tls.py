"""https and wss from the server itself: with a good certificate everything works, and a bad one is named before anything is opened."""

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import structlog
import websockets
from websockets import Subprotocol

from crdt.updates import EMPTY_STATE_VECTOR
from protocol import ysync
from server import transport
from server.config import load_settings
from server.times import utc_now
from server.tls import Certificate, TlsUnusable, certificate_of, check
from tests.support.certificates import Files, make_certificate
from tests.support.core import typed
from tests.support.running import Running, next_data, next_update, running_server
from tests.support.server import Server, wait_until


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return make_certificate(tmp_path)


def trusting(files: Files, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that believes this certificate alone."""
    context = ssl.create_default_context(cafile=str(files.cert))
    for name, version in versions.items():
        setattr(context, name, version)
    return context


# --- files


def spoilt(files: Files, tmp_path: Path, what: str) -> Files:
    other = tmp_path / "other"
    other.mkdir()
    match what:
        case "no certificate":
            files.cert.unlink()
        case "no key":
            files.key.unlink()
        case "a folder":
            return Files(other, files.key)
        case "not PEM":
            files.cert.write_bytes(b"\x30\x82junk")
        case "no key in the key file":
            files.key.write_bytes(files.cert.read_bytes())
        case "others read the key":
            files.key.chmod(0o644)
        case "its group changes the key":
            files.key.chmod(0o620)
        case "another key":
            return Files(files.cert, make_certificate(other).key)
        case "expired":
            return make_certificate(other, days=(-30, -1))
        case "of tomorrow":
            return make_certificate(other, days=(1, 30))
        case "a passphrase":
            return make_certificate(other, passphrase=b"sekret-passphrase")
    return files


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("no certificate", "TLS certificate .*cert.pem cannot be read: No such file"),
        ("no key", "TLS key .*key.pem cannot be read: No such file"),
        ("a folder", "cannot be read: Is a directory"),
        ("not PEM", "no certificate in PEM form"),
        ("no key in the key file", "no private key in PEM form"),
        ("others read the key", "chmod 600"),
        ("its group changes the key", "chmod 600"),
        ("another key", "is not that of the first certificate"),
        ("expired", "expired on .* UTC: renew it"),
        ("of tomorrow", "is valid from .* UTC on"),
        ("a passphrase", "has a passphrase"),
    ],
)
def test_what_is_wrong_with_the_files_is_said_in_a_sentence(files: Files, tmp_path: Path, what: str, says: str) -> None:
    wrong = spoilt(files, tmp_path, what)
    secret = wrong.key.read_text() if wrong.key.is_file() else ""
    with pytest.raises(TlsUnusable, match=says) as refused:
        certificate_of(load_settings(tls_cert=wrong.cert, tls_key=wrong.key))
    assert not [line for line in secret.splitlines() if len(line) > 40 and line in str(refused.value)]


def test_the_group_may_read_the_key_as_ssl_cert_does(files: Files) -> None:
    files.key.chmod(0o640)
    check(files.cert, files.key, now=utc_now())


def test_one_file_without_the_other_is_refused(files: Files) -> None:
    for given in ({"tls_cert": files.cert}, {"tls_key": files.key}):
        with pytest.raises(ValueError, match="go together"):
            load_settings(**given)
    assert certificate_of(load_settings()) is None


def test_a_renewal_that_cannot_be_used_leaves_what_there_was(files: Files, tmp_path: Path) -> None:
    certificate = Certificate(files.cert, files.key)
    for break_it in (lambda: files.key.write_bytes(b"junk"), files.cert.unlink):
        break_it()
        with structlog.testing.capture_logs() as logged:
            certificate.reload()
        assert [line["event"] for line in logged] == ["certificate_not_reloaded"]
    renewed = make_certificate(tmp_path)
    assert renewed == files
    with structlog.testing.capture_logs() as logged:
        certificate.reload()
    assert [line["event"] for line in logged] == ["certificate_reloaded"]


# --- serving


@pytest.fixture
async def https(database_dsn: str, files: Files) -> AsyncIterator[Running]:
    async with running_server(database_dsn, tls_cert=files.cert, tls_key=files.key) as server:
        yield server


async def test_https_and_wss_serve_as_http_and_ws_do(https: Running, files: Files) -> None:
    user = await https.user()
    async with httpx2.AsyncClient(base_url=f"https://localhost:{https.port}", verify=trusting(files), trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {user.access_token}"
        assert (await client.get("/api/users/me")).json()["id"] == str(user.id)
        assert (await client.post("/api/prompts", json={"title": "x" * 500, "original_text": "y" * 200_000})).status_code == 201
        assert len((await client.get("/api/export")).content) > 200_000
    device = await opened(https.port, files, user.library_id, user.sync_token)
    assert device.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
    large = typed("x" * 300_000, 4711, 0)
    await device.send(ysync.encode(ysync.Update(large)))
    assert await next_update(device) == large
    await device.close()


async def opened(port: int, files: Files, library_id: object, sync_token: str) -> websockets.ClientConnection:
    """A stock device that has been told what the server has."""
    device = await websockets.connect(
        f"wss://localhost:{port}/sync/{library_id}",
        ssl=trusting(files),
        subprotocols=[Subprotocol("yjs"), Subprotocol(f"bearer.{sync_token}")],
        compression=None,
        proxy=None,
    )
    await device.send(ysync.encode(ysync.Step1(EMPTY_STATE_VECTOR)))
    while not isinstance(ysync.decode(await next_data(device)), ysync.Step2):
        pass
    return device


async def test_versions_before_1_2_and_plain_http_are_refused(https: Running, files: Files) -> None:
    async def version(context: ssl.SSLContext) -> str:
        _, writer = await asyncio.open_connection("localhost", https.port, ssl=context)
        found = str(writer.get_extra_info("ssl_object").version())
        writer.close()
        return found

    assert await version(trusting(files, maximum_version=ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old = trusting(files, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await version(old)
    reader, writer = await asyncio.open_connection("127.0.0.1", https.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        assert not (await reader.read()).startswith(b"HTTP")
    writer.close()


async def test_who_does_not_shake_hands_is_closed_while_others_are_served(
    database_dsn: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_SECONDS", 0.3)
    async with running_server(database_dsn, tls_cert=files.cert, tls_key=files.key) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
        silent[0][1].write(b"\x16\x03\x01")  # the beginning of a hello
        async with httpx2.AsyncClient(verify=trusting(files), trust_env=False) as client:
            assert (await client.get(f"https://localhost:{server.port}/healthz")).status_code == 200
        async with asyncio.timeout(10):
            for reader, writer in silent:
                with_end = await reader.read()
                assert len(with_end) < 64
                writer.close()


def greeting(port: int, files: Files) -> str:
    """The serial number of the certificate that the server greets with."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        trusting(files).wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        return str((wrapped.getpeercert() or {})["serialNumber"])


class TlsServer(Server):
    """A server process that is asked over TLS whether it is ready."""

    def __init__(self, files: Files, **settings: str) -> None:
        super().__init__()
        self.files = files
        self.set(tls_cert=str(files.cert), tls_key=str(files.key), **settings)

    def answers(self, path: str) -> bool:
        try:
            return self._get(path).status_code == 200
        except httpx2.HTTPError:
            return False

    def _get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"https://localhost:{self.port}{path}", verify=trusting(self.files), trust_env=False)

    def account(self) -> dict[str, str]:
        """The tokens of a new account."""
        body = {"email": "ada@example.com", "password": "correct horse battery"}
        url = f"https://localhost:{self.port}/api/auth/register"
        answer: dict[str, str] = httpx2.post(url, json=body, verify=trusting(self.files), trust_env=False).json()
        return answer


async def test_several_processes_serve_tls_and_take_a_renewed_certificate_on_sighup(files: Files, tmp_path: Path) -> None:
    with TlsServer(files, workers="2") as server:
        assert server.facts()["url"] == f"https://127.0.0.1:{server.port}"
        account = server.account()
        devices = [await opened(server.port, files, account["library_id"], account["sync_token"]) for _ in range(6)]
        update = typed("over both processes", 4711, 0)
        await devices[0].send(ysync.encode(ysync.Update(update)))
        for device in devices:
            assert await next_update(device) == update

        before = greeting(server.port, files)
        files.cert.write_bytes(b"not yet written")
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.output().count("certificate_not_reloaded") == 2, within=10, what="both refusals")
        renewed = make_certificate(tmp_path)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.output().count("certificate_reloaded") == 2, within=10, what="both reloads")
        assert {greeting(server.port, renewed) for _ in range(10)} != {before}
        await devices[0].send(ysync.encode(ysync.Update(typed("the sockets stay", 4712, 0))))
        assert await next_update(devices[5]) == typed("the sockets stay", 4712, 0)
        for device in devices:
            await device.close()
        server.terminate()


def test_a_process_that_starts_is_not_ended_by_sighup() -> None:
    """With it the whole server would not start."""
    with subprocess.Popen([sys.executable, "-m", "server.child", "1"], stdin=subprocess.PIPE) as child:
        try:
            status = Path(f"/proc/{child.pid}/status")

            def ignores(number: signal.Signals) -> bool:
                (line,) = (line for line in status.read_text().splitlines() if line.startswith("SigIgn:"))
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)

            wait_until(lambda: ignores(signal.SIGHUP), within=10, what="its beginning, in which it waits for orders")
        finally:
            child.kill()


def test_a_server_with_a_bad_certificate_does_not_start(files: Files) -> None:
    files.key.chmod(0o644)
    server = TlsServer(files)
    try:
        process = server.spawn()
        assert process.wait(30) == 1
        assert server.output().strip() == f"promptsync: the TLS key {files.key} can be read or changed by others: chmod 600 it"
    finally:
        server.cleanup()
