"""What is made of WeChat's replies, whatever they are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import wechat_replies
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
from auth.wechat_replies import MAX_NICKNAME, Named, fields, session, token, userinfo
from tests.support.wechat_answers import error_body, json_body

OPENID, UNIONID = "oLVPpjqs9BhvzwPj5A-vTYAX3GLc", "o6_bmasdasdsad6_2sgVtMh81Jf"
TOKEN: dict[str, Any] = {
    "access_token": "77_" + "x" * 80,
    "expires_in": 7200,
    "refresh_token": "77_" + "y" * 80,
    "openid": OPENID,
    "scope": "snsapi_login",
    "unionid": UNIONID,
}
KNOWN = Named(openid=OPENID, unionid=UNIONID)
DOCUMENTED = (
    ProviderBusy,
    ProviderFailed,
    ProviderMisconfigured,
    ProviderUnavailable,
    WeChatBlocked,
    WeChatCodeInvalid,
    WeChatVirtualAccount,
)
ERRORS: dict[int, type[AuthError]] = {
    -1: ProviderUnavailable,
    40001: ProviderMisconfigured,
    40003: WeChatCodeInvalid,
    40013: ProviderMisconfigured,
    40014: WeChatCodeInvalid,
    40029: WeChatCodeInvalid,
    40030: WeChatCodeInvalid,
    40125: ProviderMisconfigured,
    40163: WeChatCodeInvalid,
    40226: WeChatBlocked,
    41002: ProviderMisconfigured,
    41004: ProviderMisconfigured,
    41008: ProviderMisconfigured,
    42001: WeChatCodeInvalid,
    42002: WeChatCodeInvalid,
    42003: WeChatCodeInvalid,
    45011: ProviderBusy,
    48001: ProviderFailed,
    99999: ProviderFailed,
}


def read(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply as it comes, through bytes."""
    return dict(fields(json_body(reply)))


@pytest.mark.parametrize(("errcode", "kind"), ERRORS.items())
def test_each_error_is_what_it_means_whatever_else_the_reply_says(errcode: int, kind: type[AuthError]) -> None:
    for body in (error_body(errcode), json.dumps({**TOKEN, "errcode": errcode}).encode(), json.dumps({"errcode": errcode}).encode()):
        with pytest.raises(kind) as caught:
            fields(body)
        assert caught.type is kind
        assert TOKEN["access_token"] not in f"{caught.value!r} {caught.value.args}"


@pytest.mark.parametrize("errcode", ["0", "40029", "", None, False, True, 0.0, 1.5, [], {}, [0]])
def test_an_errcode_that_is_no_number_is_no_success(errcode: object) -> None:
    with pytest.raises(ProviderFailed):
        read({**TOKEN, "errcode": errcode})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>502 Bad Gateway</h1></html>",
        json_body(TOKEN)[:-1],
        json_body(TOKEN) * 2,
        b"[" * 60_000,
        b'{"errcode":' * 5_000,
        b'{"errcode":' + b"9" * 5_000 + b"}",
        b"null",
        b'"openid"',
        b"[]",
        b"0",
        b"callback(" + json_body(TOKEN) + b")",
        json_body(TOKEN).decode().encode("utf-16"),
    ],
)
def test_what_is_no_object_in_json_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderFailed):
        token(fields(body))


@pytest.mark.parametrize("nickname", ['x","unionid":"o6_of_somebody_else', 'x","openid":"' + OPENID])
def test_a_nickname_that_breaks_out_of_its_place_names_nobody(nickname: str) -> None:
    body = b'{"openid":"%s","nickname":"%s","unionid":"%s"}' % (OPENID.encode(), nickname.encode(), UNIONID.encode())
    with pytest.raises(ProviderFailed, match="no JSON"):
        userinfo(fields(body), Named(openid=OPENID, unionid=None))


def test_a_token_reply_names_the_user() -> None:
    found = token(read(TOKEN))
    assert found.named == KNOWN
    assert found.access_token == TOKEN["access_token"]
    assert TOKEN["access_token"] not in repr(found)
    assert token(read({**TOKEN, "errcode": 0, "errmsg": ""})).named == KNOWN


@pytest.mark.parametrize(
    "openid", [None, "", " ", 7, True, [OPENID], "x" * 129, "o\0", "o\n", "oLVP pjqs", "oé", "o\u200b", b"o\xff", b"\\ud800"]
)
def test_an_openid_that_is_none_names_nobody(openid: object) -> None:
    for ask in (token, session, lambda reply: userinfo(reply, KNOWN)):
        with pytest.raises(ProviderFailed, match="openid"):
            ask(read({**TOKEN, "openid": openid}))
    without = {name: value for name, value in TOKEN.items() if name != "openid"}
    with pytest.raises(ProviderFailed, match="openid"):
        token(read(without))


@pytest.mark.parametrize("unionid", [7, False, "x" * 129, "o6_\0", " ", [UNIONID]])
def test_a_unionid_that_is_none_is_not_passed_over(unionid: object) -> None:
    with pytest.raises(ProviderFailed, match="unionid"):
        session(read({"openid": OPENID, "unionid": unionid}))


@pytest.mark.parametrize("reply", [{}, {"unionid": ""}, {"unionid": None}])
def test_a_user_may_have_no_unionid(reply: dict[str, Any]) -> None:
    assert session(read({"openid": OPENID, "session_key": "c2Vzc2lvbg==", **reply})) == Named(openid=OPENID, unionid=None)


@pytest.mark.parametrize("access_token", [None, "", 7, "x" * 1025, "a b", "a\r\nb", "é"])
def test_a_token_that_is_none_is_not_used(access_token: object) -> None:
    with pytest.raises(ProviderFailed, match="access token"):
        token(read({**TOKEN, "access_token": access_token}))


@pytest.mark.parametrize("scope", ["snsapi_login", "snsapi_userinfo", "snsapi_base,snsapi_userinfo", "snsapi_login, snsapi_base", None])
def test_scopes_are_separated_by_commas(scope: str | None) -> None:
    assert token(read({**TOKEN, "scope": scope})).named == KNOWN


@pytest.mark.parametrize("scope", ["", "snsapi_base", "snsapi_login snsapi_userinfo", "snsapi_login_x"])
def test_a_scope_that_may_not_ask_who_it_is_is_a_failure(scope: str) -> None:
    with pytest.raises(ProviderFailed, match="scope"):
        token(read({**TOKEN, "scope": scope}))


@pytest.mark.parametrize("flag", [1, True, "1", 2])
def test_a_virtual_account_signs_nobody_in(flag: object) -> None:
    with pytest.raises(WeChatVirtualAccount):
        token(read({**TOKEN, "is_snapshotuser": flag}))
    with pytest.raises(WeChatVirtualAccount):
        userinfo(read({"openid": OPENID, "is_snapshotuser": flag}), KNOWN)
    assert token(read({**TOKEN, "is_snapshotuser": 0})).named == KNOWN


def test_userinfo_is_about_the_user_of_the_token() -> None:
    assert userinfo(read({"openid": OPENID, "unionid": UNIONID}), Named(openid=OPENID, unionid=None)) == KNOWN
    assert userinfo(read({"openid": OPENID}), KNOWN) == KNOWN
    for other in ({"openid": "o" * 28, "unionid": UNIONID}, {"openid": OPENID, "unionid": "o6_other"}):
        with pytest.raises(ProviderFailed, match="another user"):
            userinfo(read(other), KNOWN)


@pytest.mark.parametrize(
    ("nickname", "shown"),
    [
        ("小明 🐼", "小明 🐼"),
        (b"a\x00b\x07c", "abc"),
        (b"a\\u0000b\\u001f", "ab"),
        (b"\xe5\xb0\x8f\xe6", "小"),
        (b"\xff\xfe", None),
        (b"a\nb\r\n\tc", "a b c"),
        ("a\u2028b", "a b"),
        ("\u202eevil", "evil"),
        (b"\\ud83d", None),
        (b"\\ud83d\\udc3c", "🐼"),
        ("  ", None),
        ("\u200b\u3000", None),
        ("", None),
        (7, None),
        (None, None),
        (["a"], None),
        ("x" * 500, "x" * MAX_NICKNAME),
        ("x" * (MAX_NICKNAME - 1) + " y", "x" * (MAX_NICKNAME - 1)),
    ],
)
def test_a_nickname_becomes_one_line_that_can_be_shown_or_nothing(nickname: object, shown: str | None) -> None:
    found = userinfo(read({"openid": OPENID, "nickname": nickname}), KNOWN)
    assert found.nickname == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["errcode", "errmsg", "openid", "unionid", "access_token", "scope", "is_snapshotuser", "nickname"]
REPLIES = st.fixed_dictionaries({}, optional={name: JSON | st.just(TOKEN.get(name, 0)) for name in NAMES})


@given(reply=REPLIES, cut=st.none() | st.integers(0, 200), noise=st.binary(max_size=4), at=st.integers(0, 200))
def test_no_reply_raises_anything_but_what_is_documented(reply: dict[str, Any], cut: int | None, noise: bytes, at: int) -> None:
    whole = json.dumps(reply, ensure_ascii=False).encode("utf-8", "surrogatepass")
    body = (whole[:at] + noise + whole[at:])[:cut]
    _read_in_each_way(body)


@given(body=st.binary(max_size=300))
def test_no_bytes_raise_anything_but_what_is_documented(body: bytes) -> None:
    _read_in_each_way(body)


def _read_in_each_way(body: bytes) -> None:
    for ask in (token, session, lambda reply: userinfo(reply, KNOWN)):
        try:
            found = ask(fields(body))
        except DOCUMENTED:
            continue
        named = found.named if isinstance(found, wechat_replies.Token) else found
        assert named.openid.isascii()
        assert 0 < len(named.openid) <= 128
        assert named.unionid is None or 0 < len(named.unionid) <= 128
        assert named.nickname is None or (named.nickname.isprintable() and 0 < len(named.nickname) <= MAX_NICKNAME)
