"""What the OpenAPI document says that each operation can be refused with, and whether an answer keeps to it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from server.problems import MEDIA_TYPE

Codes = Mapping[str, frozenset[tuple[int, str]]]


def codes_of(document: Mapping[str, Any]) -> Codes:
    """The statuses and codes of each operation, by its method and path."""
    return {
        f"{method.upper()} {path}": frozenset(
            (int(status), code)
            for status, response in operation["responses"].items()
            for code in response.get("content", {})
            .get(MEDIA_TYPE, {})
            .get("schema", {})
            .get("properties", {})
            .get("code", {})
            .get("enum", ())
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


class Keeping:
    """Called with each answer: fails for a refusal that the document, which is made when it is first needed, does not have."""

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._document = document
        self._codes: Codes = {}

    async def __call__(self, answer: httpx2.Response) -> None:
        if answer.headers.get("content-type") != MEDIA_TYPE:
            return
        await answer.aread()
        self._codes = self._codes or codes_of(self._document())
        asked = f"{answer.request.method} {answer.request.url.path}"
        found = [codes for operation, codes in self._codes.items() if _pattern(operation).fullmatch(asked)]
        if found:
            said = (answer.status_code, str(answer.json()["code"]))
            assert any(said in codes for codes in found), f"{asked} may not answer {said}: the OpenAPI document does not have it"


def _pattern(operation: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(operation)))
