"""What looks like a secret in a JSON value, and the value without it: keys, tokens and headers travel in no file.

It is told by what its place is called, or by what the keys of the large providers are like. For configurations and settings: in what
somebody has written, an example of a key is no secret.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_SECRET = re.compile(
    r"(api|access|secret|private|subscription|master|account|auth|license|encryption|signing|goog|client)key(id)?$|apikeys$"
    r"|(access|auth|api|bearer|refresh|session|security|id|personal|sync)token$|^(x?token|apitokens|authtokens|bearer|jwt|auth)$"
    r"|secrets?$|passw(or)?d$|^(pass|pwd)$|passphrase$|credentials?$|authorization$|cookies?$|headers$"
)
"""Names, lower case and without what is neither letter nor digit. `max_tokens`, `stop_token` and `keywords` are none of these."""
_KEY = re.compile(
    r"(?<![A-Za-z0-9])((sk|pk|rk)-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{20,}|(gh[a-z]|gsk|hf)_[A-Za-z0-9]{16,}|xox[a-z]-[A-Za-z0-9-]{16,}"
    r"|xai-[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{12,}|eyJ[A-Za-z0-9_-]{8,}[.][A-Za-z0-9_-]{8,}|[Bb]earer [^ ]{8,})"
)
"""What keys and tokens are like, wherever they stand."""
_IN_QUERY = frozenset({"key", "sig", "signature"})
"""What is a secret as a parameter of an address, and may be anything elsewhere."""


def is_secret(name: str) -> bool:
    """Whether what is called so is likely a secret: a key, a token, a password, or headers, whose values are."""
    return _SECRET.search("".join(character for character in name.lower() if character.isalnum())) is not None


def without_secrets(value: Any) -> tuple[Any, list[str]]:
    """The JSON value without what is called as secrets are, or is like one, and where it was: `headers`, `call/api_key`, `list/0/token`.

    What is `null`, true or false is no secret, and stays; in a list, the place of one is empty. The value itself is left as it is.
    """
    places: list[str] = []
    return _cut(value, "", places), places


def url_without_secrets(url: str) -> tuple[str, list[str]]:
    """An address without user, password and parameters that are called as secrets are, and which of these there were.

    Nothing of it where a key stands in it otherwise, or where it is none and has an @.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return ("", ["address"]) if "@" in url else (url, [])
    found = [name for name, _ in query if _is_in_query(name)]
    host = parts.netloc.rpartition("@")[2]
    if not found and host == parts.netloc:
        return ("", ["address"]) if _KEY.search(url) else (url, [])
    kept = urlencode([(name, value) for name, value in query if not _is_in_query(name)]) if found else parts.query
    return urlunsplit(parts._replace(netloc=host, query=kept)), [*found, *(["user"] if host != parts.netloc else [])]


def _is_in_query(name: str) -> bool:
    return is_secret(name) or name.lower() in _IN_QUERY


def _cut(value: Any, place: str, places: list[str]) -> Any:
    if isinstance(value, str) and _KEY.search(value):
        places.append(place.removesuffix("/"))
        return None
    if isinstance(value, list):
        return [_cut(each, f"{place}{number}/", places) for number, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, each in value.items():
        if each is not None and not isinstance(each, bool) and (is_secret(name) or (isinstance(each, str) and _KEY.search(each))):
            places.append(f"{place}{name}")
        else:
            kept[name] = _cut(each, f"{place}{name}/", places)
    return kept
