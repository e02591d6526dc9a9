"""Entity tags: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1)."""

import re
from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, Header, Request

from server.errors import Refused

MAX_HEADER = 4096
"""Characters of such a header: some forty tags. Past it: 422."""

_TAG = re.compile(r'\s*(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def _if_match(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=MAX_HEADER,
            description="one of these the thing must have, or 412 answers with it as it is now; without it what is sent is set",
        ),
    ] = None,
) -> str | None:
    return _lines(request, "if-match")


def _if_none_match(
    request: Request,
    _: Annotated[
        str | None, Header(alias="If-None-Match", max_length=MAX_HEADER, description="where it has one of these: 304 and no body")
    ] = None,
) -> str | None:
    return _lines(request, "if-none-match")


def _lines(request: Request, name: str) -> str | None:
    """All lines of the header as one, which they are (RFC 9110, 5.3); FastAPI would read the first alone."""
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


IfMatch = Annotated[str | None, Depends(_if_match)]
IfNoneMatch = Annotated[str | None, Depends(_if_none_match)]


def quoted(tag: str) -> str:
    """The value of an `ETag` header."""
    return f'"{tag}"'


def wanted(header: str | None) -> frozenset[str] | None:
    """The tags of an `If-Match`, `*` for any; None without the header. Weak ones match nothing: they say that it may differ.

    Raises:
        Refused: it is no list of tags; going on would take it for no condition.
    """
    return None if header is None else _tags(header, weak=False)


def is_known(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names this tag, weakly or not. One that cannot be read names nothing."""
    if header is None:
        return False
    try:
        known: Collection[str] = _tags(header, weak=True)
    except Refused:
        return False
    return "*" in known or tag in known


def _tags(header: str, *, weak: bool) -> frozenset[str]:
    if header.strip() == "*":
        return frozenset("*")
    found, at = set(), 0
    while at < len(header):
        match = _TAG.match(header, at)
        if match is None:
            raise Refused(422, "invalid_etag", 'The header is not a list of entity tags, "…", or *')
        if (weak or not match["weak"]) and match["tag"] != "*":  # quoted it is a tag, which nothing of ours has
            found.add(match["tag"])
        at = match.end()
    return frozenset(found)
