"""WeChat's sign-in: the page with the QR code, and a code exchanged for who its user is.

Plain GETs: its server is no OAuth 2 server that a library could talk to (text/plain, errors with status 200, the app's secret in the
query). So the requests go to the transport itself: an `httpx2` client would log each address, follow redirects, keep cookies and read
proxies from the environment. Access token, refresh token and `session_key` live no longer than the exchange, and go nowhere.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlencode

import httpx2

from auth import wechat_replies
from auth.errors import ProviderFailed, ProviderNotConfigured, ProviderTimeout, ProviderUnavailable, TooBusy
from auth.external_identities import ExternalIdentity
from auth.outbound import trusted
from auth.wechat_replies import Named, Reply
from storage.identities import Provider

DEADLINE_SECONDS = 8.0
"""For a whole exchange, its second question and repetitions included: people wait ten seconds for an answer of ours. Past it: 504."""
MAX_REPLY_BYTES = 64 << 10
"""A reply has about 500; reading more could only serve somebody else. Past it: 502."""
PAUSES_SECONDS = (0.2, 0.6)
"""After an answer "system error" the same question is asked once more after each of these; WeChat has then not taken the code."""
MAX_EXCHANGES = 100
"""Exchanges at once in a process, each a connection to WeChat: at 0.2 s each, 500 sign-ins a second. Past it: 503."""


class Kind(StrEnum):
    """How somebody signs in with WeChat; each kind is an app of its own there, with an id and a secret."""

    WEB = "web"
    """A website: a QR code is scanned, and WeChat sends the browser back."""
    APP = "app"
    """A mobile app, by WeChat's SDK."""
    MINI = "mini"
    """A mini-program, by `wx.login`."""

    @property
    def method(self) -> str:
        """What sessions and the audit log call it."""
        return f"wechat_{self.value}"


@dataclass(frozen=True, slots=True)
class App:
    """An app as it is registered at WeChat."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeChatUser:
    """Who signs in, as WeChat names them, and by which app."""

    kind: Kind
    app_id: str
    named: Named

    @property
    def identity(self) -> ExternalIdentity:
        """The user as one who signs in here: found by the unionid, and by the openid of this app. WeChat never tells an address."""
        union = (("unionid", self.named.unionid),) if self.named.unionid else ()
        return ExternalIdentity(
            provider=Provider.WECHAT,
            keys=(*union, (f"openid:{self.app_id}", self.named.openid)),
            name=self.named.nickname,
            method=self.kind.method,
        )


class WeChat:
    """Asks WeChat who somebody is."""

    def __init__(
        self,
        apps: Mapping[Kind, App],
        *,
        api_url: str,
        qr_url: str,
        deadline_seconds: float = DEADLINE_SECONDS,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        """`api_url` and `qr_url` are addresses without a path, `https://api.weixin.qq.com` and `https://open.weixin.qq.com`."""
        self._apps = dict(apps)
        self._api_url = api_url.rstrip("/")
        self._qr_url = qr_url.rstrip("/")
        self._deadline = deadline_seconds
        self._pauses = tuple(pauses_seconds)
        self._open = 0

    def app(self, kind: Kind) -> App:
        """The app of this kind.

        Raises:
            ProviderNotConfigured: there is none.
        """
        if (app := self._apps.get(kind)) is None:
            raise ProviderNotConfigured
        return app

    def qr_page(self, *, state: str, redirect_uri: str) -> str:
        """The address of WeChat's page with the QR code, which sends the browser to `redirect_uri` with `code` and this `state`.

        Raises:
            ProviderNotConfigured: no website is registered.
        """
        query = urlencode(
            {
                "appid": self.app(Kind.WEB).id,
                "redirect_uri": redirect_uri,
                "response_type": "code",
                "scope": "snsapi_login",
                "state": state,
            }
        )
        return f"{self._qr_url}/connect/qrconnect?{query}#wechat_redirect"  # WeChat's page does not work without the fragment

    async def exchange(self, kind: Kind, code: str) -> WeChatUser:
        """Who the code is of. A code is good once, for 10 minutes (mini-program: 5), and for its own app only.

        Raises:
            ProviderNotConfigured: no app of this kind is registered.
            WeChatRefused: WeChat does not say who; the subclass says why.
            ProviderTrouble: it cannot be asked; the subclass says how.
            TooBusy: too many are being exchanged.
        """
        app = self.app(kind)
        if self._open >= MAX_EXCHANGES:
            raise TooBusy
        self._open += 1
        try:
            async with asyncio.timeout(self._deadline), httpx2.AsyncHTTPTransport(verify=trusted(), trust_env=False) as transport:
                conversation = _Conversation(transport, self._api_url, self._pauses)
                ask = conversation.mini_user if kind is Kind.MINI else conversation.user
                return WeChatUser(kind=kind, app_id=app.id, named=await ask(app, code))
        except TimeoutError:
            raise ProviderTimeout("deadline") from None
        except (httpx2.HTTPError, OSError) as error:
            # not chained: its request holds the secret
            raise ProviderFailed(type(error).__name__) from None
        finally:
            self._open -= 1


class _Conversation:
    """The questions of one exchange, over one transport."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, api_url: str, pauses: Sequence[float]) -> None:
        self._transport = transport
        self._api_url = api_url
        self._pauses = pauses

    async def user(self, app: App, code: str) -> Named:
        """Who signs in to a website or a mobile app. The first reply may lack the unionid that the second one has."""
        query = {"appid": app.id, "secret": app.secret, "code": code, "grant_type": "authorization_code"}
        token = wechat_replies.token(await self._ask("/sns/oauth2/access_token", query))
        query = {"access_token": token.access_token, "openid": token.named.openid, "lang": "zh_CN"}
        return wechat_replies.userinfo(await self._ask("/sns/userinfo", query), token.named)

    async def mini_user(self, app: App, code: str) -> Named:
        """Who signs in to a mini-program."""
        query = {"appid": app.id, "secret": app.secret, "js_code": code, "grant_type": "authorization_code"}
        return wechat_replies.session(await self._ask("/sns/jscode2session", query))

    async def _ask(self, path: str, query: Mapping[str, str]) -> Reply:
        """A reply that is no error; the same is asked up to three times while the answer is "system error"."""
        for pause in self._pauses:
            with suppress(ProviderUnavailable):
                return wechat_replies.fields(await self._get(path, query))
            await asyncio.sleep(pause)
        return wechat_replies.fields(await self._get(path, query))

    async def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        request = httpx2.Request("GET", f"{self._api_url}{path}?{urlencode(query)}", headers={"Accept-Encoding": "identity"})
        response = await self._transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                raise ProviderFailed(f"status {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_raw():  # as it comes: what is compressed, though nobody asked for that, is not inflated
                body += piece
                if len(body) > MAX_REPLY_BYTES:
                    raise ProviderFailed("too long")
            return bytes(body)
        finally:
            await response.aclose()
