"""`serve --workers 2`: both processes count together, whichever of them a connection comes to."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.support.rest import fresh_email
from tests.support.server import Server

ATTEMPTS, MAY = 100, 20


@pytest.mark.faults
def test_an_address_has_as_many_logins_as_with_one_process() -> None:
    settings = {"WORKERS": "2", "LOGIN_ATTEMPTS_A_MINUTE": "1", "LOGIN_ATTEMPTS_BURST": str(MAY)}
    with Server(env={f"PROMPTSYNC_{name}": value for name, value in settings.items()}) as server:

        def sign_in(_: int) -> int:
            return server.request("POST", "/api/auth/login", {"email": fresh_email(), "password": "wrong password"})[0]

        with ThreadPoolExecutor(4) as pool:
            statuses = sorted(pool.map(sign_in, range(ATTEMPTS)))
        assert statuses == [401] * MAY + [429] * (ATTEMPTS - MAY)
        assert f'promptsync_limited_total{{limit="login"}} {ATTEMPTS - MAY}.0' in metrics(server)


def metrics(server: Server) -> str:
    return httpx2.get(f"{server.url}/metrics", trust_env=False).text
