"""What WeChat's server answers, read so strictly that nobody is signed in by accident. No network, no clock.

Its replies are JSON sent as text/plain, with status 200 even for errors (developers.weixin.qq.com, "WeChat Login" for websites and
apps, and code2Session for mini-programs). Nicknames may hold control characters and broken UTF-8. A reply counts as a success only
if `errcode` is absent or the number 0 and what names the user is well-formed.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auth.errors import (
    AuthError,
    ProviderBusy,
    ProviderFailed,
    ProviderMisconfigured,
    ProviderUnavailable,
    WeChatBlocked,
    WeChatCodeInvalid,
    WeChatVirtualAccount,
)

MAX_NICKNAME = 100
"""Characters of a nickname that are kept, as many as a name here may have; the rest is cut off."""
_ID = re.compile(r"[!-~]{1,128}")
"""An openid or unionid: 28 characters today, and never anything that is not seen."""
_TOKEN = re.compile(r"[!-~]{1,1024}")
_USERINFO_SCOPES = frozenset({"snsapi_login", "snsapi_userinfo"})
# As in names that people give: controls, lone surrogates, line ends and what turns the reading direction; and what broken UTF-8 became.
_SENSELESS_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_SENSELESS = frozenset("\ufffd\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN_CATEGORIES = frozenset({"Cf", "Zs", "Mn", "Me"})

_REFUSALS: dict[int, Callable[[], AuthError]] = {
    -1: lambda: ProviderUnavailable("system error"),
    45011: lambda: ProviderBusy("minute quota"),
    40226: WeChatBlocked,
    48001: lambda: ProviderFailed("scope"),
    **dict.fromkeys((40029, 40163, 42003), WeChatCodeInvalid),
    # Of tokens that came with this very code a moment ago: the user took the permission back, or WeChat has forgotten them.
    **dict.fromkeys((40003, 40014, 40030, 42001, 42002), WeChatCodeInvalid),
    40001: lambda: ProviderMisconfigured("secret or token"),
    40013: lambda: ProviderMisconfigured("appid"),
    40125: lambda: ProviderMisconfigured("secret"),
    41002: lambda: ProviderMisconfigured("appid missing"),
    41004: lambda: ProviderMisconfigured("secret missing"),
    41008: lambda: ProviderMisconfigured("code missing"),
}
"""WeChat's `errcode` -> what it means here. Any other is a failure of WeChat's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A user as WeChat names them: `openid` for one app, `unionid` for all apps of one owner (None if there is only one app)."""

    openid: str
    unionid: str | None
    nickname: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a code of a website or an app was exchanged for: who it is, and the token to ask for more."""

    named: Named
    access_token: str = field(repr=False)


Reply = Mapping[str, Any]
"""The fields of a reply that is no error."""


def token(reply: Reply) -> Token:
    """What `/sns/oauth2/access_token` says; its refresh token is not kept.

    Raises:
        ProviderFailed: no user, no token, or one that may not ask who it is.
        WeChatVirtualAccount: nobody in particular.
    """
    if reply.get("is_snapshotuser"):
        raise WeChatVirtualAccount
    scope = reply.get("scope")
    if isinstance(scope, str) and not _USERINFO_SCOPES.intersection(part.strip() for part in scope.split(",")):
        raise ProviderFailed("scope")
    access_token = reply.get("access_token")
    if not isinstance(access_token, str) or not _TOKEN.fullmatch(access_token):
        raise ProviderFailed("no access token")
    return Token(named=_named(reply), access_token=access_token)


def userinfo(reply: Reply, known: Named) -> Named:
    """What `/sns/userinfo` says about the user that the token's reply named.

    Raises:
        ProviderFailed: no user, or another one.
        WeChatVirtualAccount: nobody in particular.
    """
    if reply.get("is_snapshotuser"):
        raise WeChatVirtualAccount
    found = _named(reply)
    if found.openid != known.openid or (known.unionid and found.unionid and known.unionid != found.unionid):
        raise ProviderFailed("another user")
    return Named(openid=known.openid, unionid=known.unionid or found.unionid, nickname=_nickname(reply.get("nickname")))


def session(reply: Reply) -> Named:
    """What `/sns/jscode2session` says; its `session_key` is not kept.

    Raises:
        ProviderFailed: no user.
    """
    return _named(reply)


def fields(body: bytes) -> Reply:
    """The fields of a reply that is no error.

    Raises:
        WeChatCodeInvalid, WeChatBlocked, ProviderUnavailable, ProviderBusy, ProviderMisconfigured: an error that WeChat documents.
        ProviderFailed: another error, or no JSON object at all.
    """
    try:
        # not strict: WeChat puts control characters into nicknames as they are
        reply = json.loads(body.decode("utf-8", "replace"), strict=False, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise ProviderFailed("no JSON") from None
    if not isinstance(reply, dict):
        raise ProviderFailed("no object")
    errcode = reply.get("errcode", 0)
    if type(errcode) is not int:  # a bool is an int to isinstance
        raise ProviderFailed("errcode is no number")
    if errcode:
        raise _REFUSALS.get(errcode, lambda: ProviderFailed(f"errcode {errcode}" if abs(errcode) < 1_000_000 else "errcode"))()
    return reply


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, if no name is in it twice: a nickname, which anybody chooses, may have broken out of its quotation marks."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("equal names")
    return found


def _named(reply: Reply) -> Named:
    openid, unionid = reply.get("openid"), reply.get("unionid")
    if not isinstance(openid, str) or not _ID.fullmatch(openid):
        raise ProviderFailed("openid")
    if unionid is None or unionid == "":
        return Named(openid=openid, unionid=None)
    if not isinstance(unionid, str) or not _ID.fullmatch(unionid):
        raise ProviderFailed("unionid")
    return Named(openid=openid, unionid=unionid)


def _nickname(value: object) -> str | None:
    """The nickname as one line that can be stored and shown, or None where nothing of it is seen."""
    if not isinstance(value, str):
        return None
    kept = "".join(
        " " if character.isspace() else character
        for character in value
        if character not in _SENSELESS and (character.isspace() or unicodedata.category(character) not in _SENSELESS_CATEGORIES)
    )
    line = " ".join(kept.split())[:MAX_NICKNAME].strip()
    return line if any(unicodedata.category(character) not in _UNSEEN_CATEGORIES for character in line) else None
