"""Answers as WeChat's servers form them, down to the bytes."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

MESSAGES = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40013: "invalid appid",
    40014: "invalid access_token",
    40029: "invalid code",
    40030: "invalid refresh_token",
    40125: "invalid appsecret",
    40163: "code been used",
    40226: "code blocked",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41008: "missing code",
    41009: "missing openid",
    42001: "access_token expired",
    42002: "refresh_token expired",
    42003: "oauth_code timeout",
    43001: "require GET method",
    45011: "api minute-quota reach limit  mustslower  retry next minute",
    48001: "api unauthorized",
}
"""Its texts by `errcode`."""


def json_body(fields: Mapping[str, Any]) -> bytes:
    """The fields as JSON in UTF-8; what is bytes goes between quotation marks as it is, broken or not."""
    parts = []
    for name, value in fields.items():
        text = b'"' + value + b'"' if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
        parts.append(b'"' + name.encode() + b'":' + text)
    return b"{" + b",".join(parts) + b"}"


def error_body(errcode: int) -> bytes:
    """What it says of an error; the message ends with the id of the request."""
    rid = "-".join(secrets.token_hex(4) for _ in range(3))
    return json_body({"errcode": errcode, "errmsg": f"{MESSAGES.get(errcode, 'unknown error')}, rid: {rid}"})


def http_answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer of HTTP/1.1."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
