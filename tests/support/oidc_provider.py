"""oidc-provider in Google's place, in a Node process of its own: `tests/interop/oidc_provider.mjs` says what it does."""

import os
import selectors
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.plain_http import plain_client

FOLDER = Path(__file__).resolve().parents[1] / "interop"
START_SECONDS = 30.0
CLIENT_ID = "web-client.apps.googleusercontent.com"
CLIENT_SECRET = "GOCSPX-test-secret"  # of a provider that lives as long as a test


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """A provider that listens."""

    issuer: str

    async def token(self, user: str = "alice", **wanted: Any) -> str:
        """An ID token for this user; `claims`, `header`, `key` and `drop` make it another than the provider would give out."""
        async with plain_client() as client:
            answer = await client.post(f"{self.issuer}/_test/id_token", json={"user": user, **wanted})
        assert answer.status_code == 200, answer.text
        return answer.text


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def oidc_provider(
    *, redirect_uris: tuple[str, ...], port: int | None = None, keys: str = "a", key_file: Path | None = None
) -> Iterator[OidcProvider]:
    """A provider that signs with the first of `keys` and publishes all of them; a later one with the same file has the same keys."""
    port = port or free_port()
    issuer = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "ISSUER": issuer,
            "PORT": str(port),
            "REDIRECT_URIS": ",".join(redirect_uris),
            "KEYS": keys,
            "KEY_FILE": str(key_file or Path(folder) / "keys.json"),
        }
        process = subprocess.Popen(
            ["node", "oidc_provider.mjs"],
            cwd=FOLDER,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _wait_until_listening(process)
            yield OidcProvider(issuer=issuer)
        finally:
            process.kill()
            process.communicate()


def _wait_until_listening(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(START_SECONDS) or process.stdout.readline() != b"listening\n":
            process.kill()
            _, errors = process.communicate()
            raise AssertionError(f"the provider does not listen:\n{errors.decode()}")
