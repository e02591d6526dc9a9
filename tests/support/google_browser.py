"""A browser that signs in with Google: it keeps cookies, follows redirects by hand, and can be told to do any step wrongly."""

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.support.plain_http import plain_client
from tests.support.rest import Rest, bearer

START, FINISH = "/api/auth/social/google/start", "/api/auth/social/google/finish"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Browser:
    """One browser, on our server and on the provider's."""

    rest: Rest
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, url: str) -> httpx2.Response:
        return self._kept(await self.rest.client.get(url, headers=self._headers()))

    async def post(self, path: str, body: object = None, token: str | None = None, **headers: str) -> httpx2.Response:
        sent = self._headers() | OWN_PAGE | bearer(token) | headers
        return self._kept(await self.rest.client.post(path, json=body, headers=sent))

    async def start(self) -> str:
        """Begin to sign in: the address of the provider's page."""
        answer = await self.get(START)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def page(self, url: str, user: str) -> str:
        """Be this user on the provider's page: the address that it sends the browser back to."""
        async with plain_client() as client:
            url += f"&login_hint={user}"
            for _ in range(6):
                answer = await client.get(url)
                assert answer.status_code in (302, 303), answer.text
                url = str(httpx2.URL(url).join(answer.headers["location"]))
                if urlsplit(url).hostname != "127.0.0.1":
                    return url
        raise AssertionError("the provider goes on and on")

    async def come_back(self, user: str) -> str:
        """Begin and be this user at the provider: the address that the browser is then sent to."""
        return await self.page(await self.start(), user)

    async def returned(self, user: str) -> dict[str, str]:
        """The same, as far as the app, which is then told this."""
        return told(await self.get(await self.come_back(user)))

    async def finish(self, came: dict[str, str], path: str = FINISH, token: str | None = None, **body: Any) -> httpx2.Response:
        """Have the app ask for the session."""
        return await self.post(path, {name: value for name, value in came.items() if name != "provider"} | body, token)

    async def sign_in(self, user: str) -> httpx2.Response:
        """All of it."""
        return await self.finish(await self.returned(user))

    def _headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _kept(self, answer: httpx2.Response) -> httpx2.Response:
        self.rest.client.cookies.clear()  # the client is every browser's
        for line in answer.headers.get_list("set-cookie"):
            found: SimpleCookie = SimpleCookie(line)
            for name, morsel in found.items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer


def told(answer: httpx2.Response) -> dict[str, str]:
    """What the app is told in the fragment of its address."""
    assert answer.status_code == 303, answer.text
    fragment = urlsplit(answer.headers["location"]).fragment
    return {name: value for name, (value,) in parse_qs(fragment.partition("?")[2]).items()}


def query_of(url: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
