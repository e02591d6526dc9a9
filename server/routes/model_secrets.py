"""Keys and header values as requests carry them: what passes here can be sent in a header, and is never repeated in a refusal."""

import re
from typing import Annotated

from pydantic import PlainValidator, SecretStr
from pydantic_core import PydanticCustomError

MAX_KEY = 4096
"""Characters of a key: vendors' have below 200, tokens of gateways a few kilobytes. Past it: 422."""
MAX_HEADERS = 20
"""Headers of one configuration: gateways ask for one or two. Past it: 422."""
MAX_HEADER_NAME = 100
"""Characters of a header's name. Past it: 422."""
MAX_HEADER_VALUE = 4096
"""Characters of a header's value. Past it: 422."""
MASK = "***"
"""What stands in an answer for a value that is kept."""

_KEY = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # RFC 9110, 5.5, without obs-text and tabs
_MASKED = re.compile(r"\*{2,}|\.{3,}|[\u2022\u2026\u25cf]")
"""How people and clients write what they do not show."""
_FRAMING = frozenset(
    {
        *("connection", "expect", "forwarded", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("accept-encoding", "content-encoding", "content-length", "content-type", "te", "trailer", "transfer-encoding", "upgrade", "via"),
    }
)
"""What frames a message or leads it (RFC 9110, 7.6.1; RFC 9112), which is the transport's business."""
_COOKIES = frozenset({"cookie", "cookie2", "set-cookie"})
_KEYS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})
"""Where keys go, by themselves."""
_NOT_OURS = _FRAMING | _COOKIES | _KEYS


def _key(value: object) -> SecretStr:
    return SecretStr(_checked("api_key", value, _KEY, MAX_KEY))


def _headers(value: object) -> dict[str, SecretStr | None]:
    # looked at as a whole, since a refusal names the way to a field, and here names come from the client
    if not isinstance(value, dict):
        raise PydanticCustomError("headers", "is no JSON object of header names and values")
    if len(value) > MAX_HEADERS:
        raise PydanticCustomError("headers_number", "has more headers than a configuration may")
    if len({name.lower() for name in value}) != len(value):
        raise PydanticCustomError("headers_twice", "has one header twice")
    for name in value:
        if len(name) > MAX_HEADER_NAME or not _NAME.fullmatch(name):
            raise PydanticCustomError("header_name", "has a name that no header can have")
        if name.lower() in _NOT_OURS:
            raise PydanticCustomError("header_reserved", "has a header that is not a configuration's to set")
    return {
        name: None if each is None else SecretStr(_checked("header_value", each, _VALUE, MAX_HEADER_VALUE)) for name, each in value.items()
    }


def _checked(kind: str, value: object, form: re.Pattern[str], longest: int) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str) or len(value) > longest:
        raise PydanticCustomError(kind, "is no text of a length that can be kept")
    if _MASKED.search(value):
        raise PydanticCustomError("masked_value", "is what stands for a value that is not shown: leave it out to keep what is there")
    if not form.fullmatch(value):
        raise PydanticCustomError(kind, "has characters that cannot be sent")
    return value


ApiKey = Annotated[SecretStr, PlainValidator(_key, json_schema_input_type=str)]
"""A key: printable ASCII without spaces."""
ExtraHeaders = Annotated[dict[str, SecretStr | None], PlainValidator(_headers, json_schema_input_type=dict[str, str | None])]
"""Header values by their names; null takes one away."""
