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
from urllib.parse import parse_qsl, urlencode, urlsplit

from server.transfer.json_text import MAX_DEPTH, check_depth

Found = Callable[[str, str], None]
"""Told the place and the kind of each secret."""

_UNLIKE = re.compile(r"[^a-z0-9]")
_HEADERS = re.compile(r".*headers?")
_DOUBTLESS = re.compile(
    r"(.*api|x?.*secret|.*private|.*subscription)keys?|(proxy)?authorization|(.*(access|refresh|auth|bearer|session|api|id))tokens?"
    r"|.*(clientsecret|appsecret)|.*passwords?|passwd|passphrase"
)
_LIKELY = re.compile(r".*(keys?|secrets?|tokens?|credentials?|passwords?|passwd|passphrase|cookies?|bearer|accesskeyid|signature)|auth|pwd")
_NO_SECRETS = re.compile(
    r"tokens|.*(model|mode|submode|label|labels|description|unit|template|category|sort|storage|i18n|locale|hot|shortcut)keys?"
)
_TOKENS = re.compile(r"(.*)tokens?")
_COUNTED = re.compile(r"max|min|completion|prompt|input|output|total|budget|thinking|stop|special|context|num|used")
"""Where this is in front, tokens are what models count. Looked for by itself: within one pattern it takes the square of a name's length."""
_LOOKS = re.compile(
    r"(?<![A-Za-z0-9])((sk|pk|rk)-[A-Za-z0-9_-]{12,}|AIza[A-Za-z0-9_-]{20,}|(gsk|ghp|gho|hf|xox[abps])[_-][A-Za-z0-9-]{16,}|xai-[A-Za-z0-9]{16,}"
    r"|AKIA[A-Z0-9]{12,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*|[Bb]earer\s+\S{8,})"
)
_QUERY = re.compile(r"key|code|sig|auth|.*(apikey|key|token|secret|signature|password)")
_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
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
    *above, last = re.split(r"[:/.]", name)
    kept = _kept(next(filter(_is_doubtless, above), last), value, place, found)
    return None if kept is _CUT else kept


def variable_without_secret(name: str, value: Any, place: str, found: Found) -> Any:
    """A variable's value; None where it is one beyond doubt, by its name or its look. Raises TooDeep."""
    check_depth(value)
    if isinstance(value, str) and value and (_is_doubtless(name) or _LOOKS.search(value)):
        found(place, _kind(_UNLIKE.sub("", name.lower())) if _is_doubtless(name) else _LOOKS_LIKE)
        return None
    return _content(value, place, found)


def content_without_secrets(item: Any, place: str, found: Found, *, depth: int = MAX_DEPTH) -> Any:
    """Content without the values whose names leave no doubt. Raises TooDeep past so deep."""
    check_depth(item, depth)
    return _content(item, place, found)


_CUT = object()


def _kept(name: str, value: Any, place: str, found: Found) -> Any:
    """What is kept of a configuration's value, _CUT for nothing."""
    like = _UNLIKE.sub("", name.lower())
    if name in _FORMS:
        return _CUT
    if _HEADERS.fullmatch(like) and isinstance(value, str | list | dict):
        for where in _texts(value, place):
            found(where, "header")
        return _CUT
    if _is_secret(like) and (isinstance(value, str | list | dict) or (isinstance(value, int | float) and not isinstance(value, bool))):
        if not isinstance(value, str | list | dict) or any(True for _ in _texts(value, place)):
            found(place, _kind(like))
        return _CUT
    match value:
        case str():
            return _kept_text(value, place, found)
        case list():
            return [kept for number, each in enumerate(value) if (kept := _kept("", each, f"{place}/{number}", found)) is not _CUT]
        case dict():
            by = "name" if "name" in value else "key"
            called = value.get(by)
            if isinstance(called, str) and any(_texts(value.get("value"), place)) and _is_secret(_UNLIKE.sub("", called.lower())):
                found(f"{place}/value", _kind(_UNLIKE.sub("", called.lower())))
                return {by: called} | _parts({each: part for each, part in value.items() if each not in (by, "value")}, place, found)
            return _parts(value, place, found)
    return value


def _parts(value: dict[str, Any], place: str, found: Found) -> dict[str, Any]:
    return {each: kept for each, part in value.items() if (kept := _kept(each, part, f"{place}/{each}", found)) is not _CUT}


def _kept_text(text: str, place: str, found: Found) -> Any:
    if text.lstrip()[:1] in ("{", "[") and (inner := _json(text)) is not None:
        told: list[tuple[str, str]] = []
        kept = _kept("", inner, place, lambda where, kind: told.append((where, kind)))
        for where, kind in told:
            found(where, kind)
        return json.dumps(kept, ensure_ascii=False) if told else text
    if _ADDRESS.match(text):
        text = _address(text, place, found)
    if _LOOKS.search(text):
        found(place, _LOOKS_LIKE)
        return _CUT
    return text


def _address(text: str, place: str, found: Found) -> str:
    """An address without a password, and without what in its query or its fragment is a key."""
    try:
        parts = urlsplit(text.strip())
        query, fragment = _keyless(parts.query), _keyless(parts.fragment)
    except ValueError:
        found(place, "address")
        return ""
    kept = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment=fragment)
    if kept == parts:
        return text
    found(place, "address")
    return kept.geturl()


def _keyless(query: str) -> str:
    """A query, or a fragment that is written as one, without the keys in it; as it stands where there are none."""
    named = parse_qsl(query, keep_blank_values=True)
    kept = [(name, value) for name, value in named if not (value and _QUERY.fullmatch(_UNLIKE.sub("", name.lower())))]
    return query if len(kept) == len(named) else urlencode(kept)


def _content(value: Any, place: str, found: Found) -> Any:
    match value:
        case list():
            return [_content(each, f"{place}/{number}", found) for number, each in enumerate(value)]
        case dict():
            kept = {}
            for name, each in value.items():
                if isinstance(each, str):
                    if each and _is_doubtless(name):
                        found(f"{place}/{name}", _kind(_UNLIKE.sub("", name.lower())))
                        continue
                    kept[name] = each
                else:
                    kept[name] = _content(each, f"{place}/{name}", found)
            return kept
    return value


@lru_cache(maxsize=1024)
def _is_doubtless(name: str) -> bool:
    return _DOUBTLESS.fullmatch(_UNLIKE.sub("", name.lower())) is not None


def _is_secret(like: str) -> bool:
    like = like.rstrip("0123456789")
    if _DOUBTLESS.fullmatch(like):
        return True
    return bool(_LIKELY.fullmatch(like)) and not _NO_SECRETS.fullmatch(like) and not _is_count(like)


def _is_count(like: str) -> bool:
    found = _TOKENS.fullmatch(like)
    return found is not None and _COUNTED.search(found[1]) is not None


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


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
        check_depth(value)
    except (ValueError, RecursionError):
        return None
    return value
