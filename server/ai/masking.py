"""What a provider said, made fit to be shown and logged: short, one line, and without anything of a secret."""

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from auth.model_secret import ModelSecret
from server.looks import LOOKS_LIKE_A_KEY

MAX_SAID = 300
"""Characters that are kept of what a provider said: enough for a sentence. The rest is cut off."""
MAX_READ = 4_000
"""Characters of it that are looked at; no vendor's message is that long."""
MASK = "***"
_RUN = 8
"""Characters of a secret that betray it, wherever they stand: a longer run of the two in common is masked."""
_END = 4
"""Characters at an end of a secret that are masked where a vendor has left them beside its own mask: `sk-ab…wxyz`."""
_WORD = re.compile(r"\S+")
_VENDORS_MASK = re.compile(r"\*{2,}|\.{3,}|…+|•{2,}|[xX]{4,}")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def masked(text: str, secret: ModelSecret) -> str:
    """The text without control characters, and with `***` for everything of the secret, in any encoding, and all that looks like a key."""
    shown = "".join(character if character.isprintable() else " " if character.isspace() else "" for character in text[:MAX_READ])
    if len(text) > MAX_READ:
        shown = shown.rpartition(" ")[0]  # where it is cut off half a secret may stand
    values = [value.translate(_ASCII_LOWER) for value in secret.values]
    shown = _without_runs(shown, {form for value in secret.values for form in _forms(value)})
    shown = _WORD.sub(lambda word: _without_ends(word[0], values), shown)
    shown = LOOKS_LIKE_A_KEY.sub(MASK, shown)
    return " ".join(shown.split())[:MAX_SAID]


def _forms(value: str) -> Iterator[str]:
    """A value as it may be written, in lower case."""
    data = value.encode("utf-8", "surrogatepass")
    for form in (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], data.hex(), *_in_base64(data)):
        yield form.translate(_ASCII_LOWER)


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters of base64 that are the value's alone, wherever it stands in what was encoded."""
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + data).decode().rstrip("=")
            end = len(text) - (1 if (before + len(data)) % 3 else 0)  # the last one has bits of what comes after
            yield text[(before * 8 + 5) // 6 : end]


def _without_runs(text: str, forms: set[str]) -> str:
    """The text with all that it has in common with a form masked: the whole of short ones, each long run of others."""
    runs: dict[int, set[str]] = {}
    for form in forms:
        size = min(len(form), _RUN)
        if size > 1:  # one character is nothing to be found by
            runs.setdefault(size, set()).update(form[start : start + size] for start in range(len(form) - size + 1))
    seen, betrays = text.translate(_ASCII_LOWER), bytearray(len(text))
    for size, pieces in runs.items():
        for start in range(len(seen) - size + 1):
            if seen[start : start + size] in pieces:
                betrays[start : start + size] = b"\1" * size
    return "".join(
        MASK if betrays[start] else character
        for start, character in enumerate(text)
        if not (betrays[start] and start and betrays[start - 1])
    )


def _without_ends(word: str, values: list[str]) -> str:
    """The word masked as a whole where a vendor has masked it but for an end of a secret."""
    parts = _VENDORS_MASK.split(word.translate(_ASCII_LOWER))
    if len(parts) == 1:
        return word
    found = any(_shares(part, value) for part in parts for value in values)
    return MASK if found else word


def _shares(part: str, value: str) -> bool:
    """Whether so many characters of an end of the value stand at an end of the part."""
    first, last = value[:_END], value[-_END:]
    core = part.strip("\"'`.,;:()[]{}<>=")
    return len(value) > _END and (core.startswith((first, last)) or core.endswith((first, last)))
