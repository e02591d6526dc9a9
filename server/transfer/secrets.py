"""Secrets in a file's items: cut out before anything else sees the item, and told by their places alone.

Two measures. Configurations (models, settings) hold keys by design: there everything that is called like a secret, or looks like one, goes.
Content (prompts, conversations) is what somebody has written: there only a value goes whose name leaves no doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from server.looks import LOOKS_LIKE_A_KEY
from server.transfer.json_text import MAX_DEPTH, TooDeep, check_depth

Found = Callable[[str, str], None]
"""Told the place and the kind of each secret."""

_UNLIKE = re.compile(r"[^a-z0-9]")
_PASSWORD = re.compile(r"(密钥|密鑰|令牌|密码|密碼|口令)\s*$")
_NUMBERED = re.compile(r"(value|\d+)$")
MAX_NAME = 200
"""Characters at the end of a name by which it is judged: the patterns look back and forth in it."""
_HEADERS = re.compile(r".*headers?")
_DOUBTLESS = re.compile(
    r"(.*api|x?.*secret|.*private|.*subscription)keys?|(proxy)?authorization|(.*(access|refresh|auth|bearer|session|api|id))tokens?"
    r"|.*(clientsecret|appsecret)|.*passwords?|passwd|passphrase"
)
_LIKELY = re.compile(
    r".*(keys?|secrets?|tokens?|credentials?|passwords?|passwd|passphrase|cookies?|bearer|accesskeyid|secretid|signature|auth|pwd)"
    r"|ak|sk|(.*(user|dav|db|proxy|admin|login|mail|smtp))?pass"
)
_NO_SECRETS = re.compile(
    r"(?!.*(admin|minimax)tokens)"
    r".*(max|min|completion|prompt|input|output|total|budget|thinking|context|num|used)\w*tokens|.*(stop|special)\w*tokens?|tokens"
    r"|.*(model|mode|submode|label|labels|description|unit|template|category|sort|storage|i18n|locale|hot|shortcut)keys?"
)
_COUNT = re.compile(r".*(max|min|completion|prompt|input|output|total|budget|thinking|num|used)\w*token")
"""A number of such a name is none either."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
_USER = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_QUERY = re.compile(r"key|code|sig|auth|.*(apikey|key|token|secret|signature|password)")
_CALLED, _GIVEN = ("name", "key", "header"), frozenset({"value", "defaultValue", "default"})
"""How what belongs together is written as a pair: what it is called, and what it is."""
_FORMS = frozenset({"connectionSchema", "parameterDefinitions", "fieldTypes"})
"""Descriptions of what may be configured: they name keys, and hold none."""
_NO_KIND, _LOOKS_LIKE = "secret", "looks_like_a_key"


def without_secrets(item: Any, place: str, found: Found, *, plain: frozenset[str] = frozenset(), depth: int = MAX_DEPTH) -> Any:
    """A configuration without its secrets. `plain` are names at its top that are none. Raises TooDeep past so deep."""
    check_depth(item, depth)
    if isinstance(item, dict):
        return {
            name: kept
            for name, value in item.items()
            if (kept := value if name in plain and isinstance(value, str) else _kept(name, value, f"{place}/{name}", found)) is not _CUT
        }
    kept = _kept("", item, place, found)
    return None if kept is _CUT else kept


def setting_without_secrets(name: str, value: Any, place: str, found: Found, *, depth: int = MAX_DEPTH) -> Any:
    """A setting's value without its secrets; None where it is one. Raises TooDeep past so deep."""
    check_depth(value, depth)
    *before, last = re.split(r"[:/.]", name)
    kept = _kept(next(filter(_is_doubtless, before), last), value, place, found)
    return None if kept is _CUT else kept


def variable_without_secret(name: str, value: Any, place: str, found: Found) -> Any:
    """A variable's value; None where it is one beyond doubt, by its name or its look. Raises TooDeep."""
    check_depth(value)
    if isinstance(value, str) and value and (_is_doubtless(name) or LOOKS_LIKE_A_KEY.search(value)):
        found(place, _kind(_like(name)) if _is_doubtless(name) else _LOOKS_LIKE)
        return None
    return _content(value, place, found)


def content_without_secrets(item: Any, place: str, found: Found, *, depth: int = MAX_DEPTH) -> Any:
    """Content without the values whose names leave no doubt. Raises TooDeep past so deep."""
    check_depth(item, depth)
    return _content(item, place, found)


_CUT = object()


def _kept(name: str, value: Any, place: str, found: Found) -> Any:
    """What is kept of a configuration's value, _CUT for nothing."""
    like = _like(name)
    if name in _FORMS:
        return _CUT
    if _HEADERS.fullmatch(like) and isinstance(value, str | list | dict):
        for where in _texts(value, place):
            found(where, "header")
        return _CUT
    if value is not None and not isinstance(value, bool) and _is_secret(like, value):
        if any(True for _ in _texts(value, place)):
            found(place, _kind(like))
        return _CUT
    match value:
        case str():
            return _kept_text(value, place, found)
        case list():
            return [kept for number, each in enumerate(value) if (kept := _kept("", each, f"{place}/{number}", found)) is not _CUT]
        case dict():
            return _kept_map(value, place, found)
    return value


def _kept_map(value: dict[str, Any], place: str, found: Found) -> dict[str, Any]:
    called = next((name for name in _CALLED if isinstance(value.get(name), str)), "")
    is_pair = called != "" and not _GIVEN.isdisjoint(value)
    like = _like(value[called]) if is_pair else ""
    kept: dict[str, Any] = {}
    for name, each in value.items():
        if is_pair and name in _GIVEN and (called == "header" or _is_secret(like, each)):
            if any(True for _ in _texts(each, place)):
                found(f"{place}/{name}", _kind(like))
        elif LOOKS_LIKE_A_KEY.search(name):
            found(place, _LOOKS_LIKE)  # its name is the secret
        elif is_pair and name == called:
            if (text := _kept_text(each, f"{place}/{name}", found)) is not _CUT:
                kept[name] = text
        elif (part := _kept(name, each, f"{place}/{name}", found)) is not _CUT:
            kept[name] = part
    return kept


def _kept_text(text: str, place: str, found: Found) -> Any:
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            inner, is_plain = _json(text)
        except (TooDeep, RecursionError):
            found(place, _NO_KIND)  # whatever lies so deep
            return _CUT
        if inner is not None:
            told: list[tuple[str, str]] = []
            kept = _kept("", inner, place, lambda where, kind: told.append((where, kind)))
            for where, kind in told:
                found(where, kind)
            if kept is _CUT:
                return _CUT
            return text if is_plain and not told else json.dumps(kept, ensure_ascii=False)
    if _ADDRESS.match(text.lstrip()):
        bare = text.strip()
        text = text if (kept := _address(bare, place, found)) == bare else kept
    if _USER.search(text):
        found(place, "address")
        text = _USER.sub("://", text)
    if LOOKS_LIKE_A_KEY.search(text):
        found(place, _LOOKS_LIKE)
        return _CUT
    return text


def _address(text: str, place: str, found: Found) -> str:
    """An address without a password, and without what in its query, or in one behind its mark, is a key."""
    try:
        parts = urlsplit(text)
        query, fragment = _query(parts.query), _query(parts.fragment) if "=" in parts.fragment else parts.fragment
    except ValueError:
        found(place, "address")
        return ""
    if (query, fragment) == (parts.query, parts.fragment) and "@" not in parts.netloc:
        return text
    found(place, "address")
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, fragment).geturl()


def _query(text: str) -> str:
    """The query without keys; as it is written where there are none. Raises ValueError."""
    query = parse_qsl(text, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not (value and _QUERY.fullmatch(_like(name)))]
    return text if len(kept) == len(query) else urlencode(kept)


def _content(value: Any, place: str, found: Found) -> Any:
    match value:
        case list():
            return [_content(each, f"{place}/{number}", found) for number, each in enumerate(value)]
        case dict():
            called = value.get("name")
            kept = {}
            for name, each in value.items():
                secret = called if name in _GIVEN and isinstance(called, str) else name
                if isinstance(each, str | list) and _is_doubtless(secret) and any(True for _ in _texts(each, place)):
                    found(f"{place}/{name}", _kind(_like(secret)))
                elif isinstance(each, dict) and _is_doubtless(name):
                    kept[name] = _described(each, f"{place}/{name}", name, found)
                else:
                    kept[name] = _content(each, f"{place}/{name}", found)
            return kept
    return value


def _described(value: dict[str, Any], place: str, name: str, found: Found) -> Any:
    """What describes a secret (a tool's parameter, a variable), without what it is."""
    for given in value.keys() & _GIVEN:
        if any(True for _ in _texts(value[given], place)):
            found(f"{place}/{given}", _kind(_like(name)))
    return _content({each: part for each, part in value.items() if each not in _GIVEN}, place, found)


@lru_cache(maxsize=1024)
def _is_doubtless(name: str) -> bool:
    return _DOUBTLESS.fullmatch(_like(name)) is not None


def _like(name: str) -> str:
    """What names are told apart by."""
    return _NUMBERED.sub("", _UNLIKE.sub("", _PASSWORD.sub("password", name[-MAX_NAME:]).lower()))


def _is_secret(like: str, value: Any) -> bool:
    if _DOUBTLESS.fullmatch(like):
        return True
    if not _LIKELY.fullmatch(like) or _NO_SECRETS.fullmatch(like):
        return False
    return not (isinstance(value, int | float) and _COUNT.fullmatch(like))


def _kind(like: str) -> str:
    for part, kind in (("key", "api_key"), ("token", "token"), ("pass", "password"), ("pwd", "password"), ("auth", "header")):
        if part in like:
            return kind
    return _NO_KIND


def _texts(value: Any, place: str) -> Iterator[str]:
    """The places of the texts and numbers in a value that are not empty."""
    match value:
        case list():
            for number, each in enumerate(value):
                yield from _texts(each, f"{place}/{number}")
        case dict():
            for name, each in value.items():
                yield from _texts(each, f"{place}/{name}")
        case str() if value:
            yield place
        case int() | float() if not isinstance(value, bool):
            yield place


def _json(text: str) -> tuple[Any, bool]:
    """The JSON value in a text, None for none, and whether all of the text is in it. Raises TooDeep, RecursionError."""
    is_plain = True

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_plain
        value = dict(pairs)
        is_plain = is_plain and len(value) == len(pairs)  # of two of one name only one is seen
        return value

    try:
        value = json.loads(text, object_pairs_hook=named)
    except ValueError:
        return None, True
    check_depth(value)
    return value, is_plain
