"""A stand-in for WeChat's servers on loopback: the page with the QR code and the three questions, as the real ones answer them.

JSON as text/plain, status 200 even for errors, `rid` in the messages; codes good once, for a time and for their own app; openids that
differ from app to app, unionids only among apps of one owner; a minute quota for each user. And what can go wrong: see `Trouble`.
Every secret that it knows or gives out is in `secrets`, so that a test can look for them where they must not be.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from auth.wechat import Kind
from tests.support.plain_http import plain_client
from tests.support.wechat_answers import error_body, http_answer, json_body

CODE_LIFE = {Kind.WEB: timedelta(minutes=10), Kind.APP: timedelta(minutes=10), Kind.MINI: timedelta(minutes=5)}
TOKEN_LIFE = timedelta(hours=2)
MINUTE_QUOTA = 100
"""Questions about one user and app a minute."""
SCOPES = {Kind.WEB: "snsapi_login", Kind.APP: "snsapi_userinfo"}


@dataclass(frozen=True, slots=True)
class Registered:
    """An app: `owner` is the Open Platform account that it is bound to, `domain` where a website's users are sent back to."""

    kind: Kind
    id: str
    secret: str
    owner: str | None
    domain: str


@dataclass(eq=False, slots=True)
class Person:
    """Somebody who uses WeChat; the nickname is bytes as they stand in the JSON text."""

    id: str
    nickname: bytes
    has_unionid: bool = True
    is_snapshotuser: bool = False
    is_blocked: bool = False


@dataclass(slots=True)
class Trouble:
    """What goes wrong until it is put right. `at` is the path that it concerns; None: every one."""

    at: str | None = None
    errcode: int | None = None
    """This error instead of an answer; the code is not taken."""
    times: int = 1 << 30
    """Answers that `errcode` spoils, before all is well again."""
    delay: float = 0.0
    """Seconds before the answer begins."""
    mangle: Callable[[bytes], bytes] = bytes
    """What becomes of the body of an answer that was right."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    """The connection ends in the middle of the body."""


@dataclass(slots=True)
class _Code:
    app: Registered
    person: Person
    expires_at: datetime
    is_used: bool = False


class _Refused(Exception):
    def __init__(self, errcode: int) -> None:
        super().__init__(errcode)
        self.errcode = errcode


class RedirectRefused(Exception):
    """WeChat shows a page of its own instead of the QR code: "redirect_uri 参数错误"."""


class WeChatServer:
    """WeChat as one process plays it: at `url` both its addresses, in `asked` the number of questions by path."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.url = ""
        self.trouble: Trouble | None = None
        self.asked: Counter[str] = Counter()
        self.secrets: set[str] = set()
        self.connections: set[asyncio.Task[None] | None] = set()
        self.clock = clock
        self._apps: dict[str, Registered] = {}
        self._codes: dict[str, _Code] = {}
        self._tokens: dict[str, _Code] = {}
        self._quota: Counter[tuple[str, str, datetime]] = Counter()
        self._people = 0
        self._answers = {
            "/sns/oauth2/access_token": self._access_token,
            "/sns/userinfo": self._userinfo,
            "/sns/jscode2session": self._session,
        }

    # --- what owners and people do

    def register(self, kind: Kind, *, owner: str | None = "we", domain: str = "app.example") -> Registered:
        """A new app."""
        app = Registered(kind, f"wx{secrets.token_hex(8)}", self._secret(secrets.token_hex(16)), owner, domain)
        self._apps[app.id] = app
        return app

    def person(self, nickname: str | bytes = "小明", **options: bool) -> Person:
        """Somebody new."""
        self._people += 1
        raw = nickname if isinstance(nickname, bytes) else json.dumps(nickname, ensure_ascii=False).encode()[1:-1]
        return Person(f"person-{self._people}", raw, **options)

    def code(self, app: Registered, person: Person) -> str:
        """What a mobile app or a mini-program gets from WeChat's SDK, once its user has agreed."""
        code = self._secret(("0" if app.kind is Kind.MINI else "") + secrets.token_hex(16))
        self._codes[code] = _Code(app, person, self.clock() + CODE_LIFE[app.kind])
        return code

    async def scan(self, qr_page: str, person: Person) -> str:
        """Open the page, scan its code and agree: where the browser is sent.

        Raises:
            RedirectRefused: the page shows no QR code.
        """
        app, asked = await self._qr_page(qr_page)
        return f"{asked['redirect_uri']}?code={self.code(app, person)}&state={_state_as_sent(qr_page)}"

    async def deny(self, qr_page: str, *, as_before: bool = False) -> str | None:
        """Open the page, scan its code and do not agree: the browser stays where it is, or was once sent back without a code."""
        _, asked = await self._qr_page(qr_page)
        return f"{asked['redirect_uri']}?state={_state_as_sent(qr_page)}" if as_before else None

    def openid(self, app: Registered, person: Person) -> str:
        """Another one for each app."""
        return "o" + _short_hash("openid", app.id, person.id)[:27]

    def unionid(self, app: Registered, person: Person) -> str | None:
        """One for all apps of an owner; None for an app that is not bound to any, and while WeChat leaves it out."""
        if app.owner is None or not person.has_unionid:
            return None
        return "o6_" + _short_hash("unionid", app.owner, person.id)[:25]

    # --- the page

    async def _qr_page(self, address: str) -> tuple[Registered, dict[str, str]]:
        assert urlsplit(address).fragment == "wechat_redirect", "without the fragment the page is empty"
        async with plain_client(timeout=10) as browser:
            page = await browser.get(address)
        if "uuid" not in page.text:
            raise RedirectRefused
        asked = dict(parse_qsl(urlsplit(address).query))
        return self._apps[asked["appid"]], asked

    def _page(self, asked: Mapping[str, str]) -> bytes:
        app = self._apps.get(asked.get("appid", ""))
        back = urlsplit(asked.get("redirect_uri", ""))
        wanted = {"response_type": "code", "scope": "snsapi_login"}
        if app is None or app.kind is not Kind.WEB or not wanted.items() <= asked.items():
            return "<!DOCTYPE html><title>出错了</title>Scope 参数错误或没有 Scope 权限".encode()
        if back.hostname != app.domain or back.port not in (None, 80, 443):
            return "<!DOCTYPE html><title>出错了</title>redirect_uri 参数错误".encode()
        return f"<!DOCTYPE html><title>微信登录</title><img src='/connect/qrcode/{secrets.token_hex(8)}' data-uuid>".encode()

    # --- the questions

    def _access_token(self, asked: Mapping[str, str]) -> dict[str, Any]:
        code = self._take(asked, asked.get("code"), {Kind.WEB, Kind.APP})
        access_token = self._secret(f"77_{secrets.token_urlsafe(60)}")
        self._tokens[access_token] = replace(code, expires_at=self.clock() + TOKEN_LIFE)
        return {
            "access_token": access_token,
            "expires_in": int(TOKEN_LIFE.total_seconds()),
            "refresh_token": self._secret(f"77_{secrets.token_urlsafe(60)}"),
            "openid": self.openid(code.app, code.person),
            "scope": SCOPES[code.app.kind],
            **self._union(code),
            **({"is_snapshotuser": 1} if code.person.is_snapshotuser else {}),
        }

    def _userinfo(self, asked: Mapping[str, str]) -> dict[str, Any]:
        if not asked.get("access_token"):
            raise _Refused(41001)
        if not asked.get("openid"):
            raise _Refused(41009)
        token = self._tokens.get(asked["access_token"])
        if token is None:
            raise _Refused(40001)
        if self.clock() >= token.expires_at:
            raise _Refused(42001)
        if asked["openid"] != self.openid(token.app, token.person):
            raise _Refused(40003)
        return {
            "openid": asked["openid"],
            "nickname": token.person.nickname,
            "sex": 0,
            "language": "",
            "city": "",
            "province": "",
            "country": "",
            "headimgurl": "https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132",
            "privilege": [],
            **self._union(token),
        }

    def _session(self, asked: Mapping[str, str]) -> dict[str, Any]:
        code = self._take(asked, asked.get("js_code"), {Kind.MINI})
        key = self._secret(base64.b64encode(secrets.token_bytes(16)).decode())
        return {"session_key": key, "openid": self.openid(code.app, code.person), **self._union(code), "errcode": 0, "errmsg": ""}

    def _take(self, asked: Mapping[str, str], code: str | None, kinds: set[Kind]) -> _Code:
        if not asked.get("appid"):
            raise _Refused(41002)
        app = self._apps.get(asked["appid"])
        if app is None:
            raise _Refused(40013)
        if not asked.get("secret"):
            raise _Refused(41004)
        if asked["secret"] != app.secret:
            raise _Refused(40125)
        if not code:
            raise _Refused(41008)
        if asked.get("grant_type") != "authorization_code":
            raise _Refused(40002)
        found = self._codes.get(code)
        if found is None or found.app != app or app.kind not in kinds:
            raise _Refused(40029)
        self._count(app, found.person)
        if found.is_used:
            raise _Refused(40163)
        if self.clock() >= found.expires_at:
            raise _Refused(40029)
        if found.person.is_blocked:
            raise _Refused(40226)
        found.is_used = True
        return found

    def _count(self, app: Registered, person: Person) -> None:
        minute = app.id, person.id, self.clock().replace(second=0, microsecond=0)
        self._quota[minute] += 1
        if self._quota[minute] > MINUTE_QUOTA:
            raise _Refused(45011)

    def _union(self, code: _Code) -> dict[str, str]:
        unionid = self.unionid(code.app, code.person)
        return {} if unionid is None else {"unionid": unionid}

    # --- HTTP

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections.add(task := asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
                writer.write(await self._respond(method, urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))))
                await writer.drain()
                if self.trouble is not None and self.trouble.is_cut:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            self.connections.discard(task)
            writer.close()

    async def _respond(self, method: str, path: str, asked: Mapping[str, str]) -> bytes:
        self.asked[path] += 1
        if path == "/connect/qrconnect":
            return http_answer(200, {"Content-Type": "text/html; charset=utf-8"}, self._page(asked))
        if path not in self._answers:
            return http_answer(404, {"Content-Type": "text/html"}, b"<h1>404 Not Found</h1>")
        trouble = self.trouble if self.trouble is not None and self.trouble.at in (None, path) else Trouble()
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        body = trouble.mangle(self._body(method, path, asked, trouble))
        answer = http_answer(trouble.status, {"Content-Type": "text/plain", **trouble.headers}, body)
        return answer[: -len(body) // 2] if trouble.is_cut else answer

    def _body(self, method: str, path: str, asked: Mapping[str, str], trouble: Trouble) -> bytes:
        try:
            if method != "GET":
                raise _Refused(43001)
            if trouble.errcode is not None and trouble.times > 0:
                trouble.times -= 1
                raise _Refused(trouble.errcode)
            return json_body(self._answers[path](asked))
        except _Refused as refused:
            return error_body(refused.errcode)

    def _secret(self, text: str) -> str:
        self.secrets.add(text)
        return text


def _state_as_sent(address: str) -> str:
    """The state byte for byte, not decoded and encoded again."""
    return next(part.removeprefix("state=") for part in urlsplit(address).query.split("&") if part.startswith("state="))


def _short_hash(*parts: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256("\0".join(parts).encode()).digest()).decode()


@asynccontextmanager
async def wechat_server(clock: Callable[[], datetime]) -> AsyncIterator[WeChatServer]:
    """WeChat, listening on loopback."""
    wechat = WeChatServer(clock)
    server = await asyncio.start_server(wechat.serve, "127.0.0.1", 0)
    wechat.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wechat
    finally:
        server.close()
        for task in wechat.connections:
            if task is not None:
                task.cancel()
