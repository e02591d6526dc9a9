"""What a model thinks, told from what it answers, where both come in one text: `<think>…</think>` before the answer.

Only tags before the first word of the answer are read as such. Later ones are part of the answer: a prompt may well be about them.
"""

import re

from server.ai.calls import Reasoning, Token

OPENING, CLOSING = "<think>", "</think>"
MAX_SPACE = 1_000
"""Characters of white space before a tag; after more of it no tag is looked for: what is held back is in nobody's bounds."""
_SURROGATES = re.compile("[\ud800-\udfff]")


class Thinking:
    """Takes an answer's text as it comes, however it is cut, and gives it back as tokens and reasoning.

    Empty pieces are left out, and so is the white space before the answer where there was reasoning.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = self._answering = self._thought = False
        self._text = Joined()

    def feed(self, text: str) -> list[Token | Reasoning]:
        """The pieces that are complete with this text."""
        text = self._text.feed(text)
        if self._answering:  # nearly always
            return [Token(text)] if text else []
        self._held += text
        return self._read()

    def end(self) -> list[Token | Reasoning]:
        """What was held back as a possible beginning of a tag."""
        held, self._held = self._held + self._text.end(), ""
        if not held:
            return []
        return [Reasoning(held) if self._inside else Token(held)]

    def _read(self) -> list[Token | Reasoning]:
        pieces: list[Token | Reasoning] = []
        while self._held and not self._answering:
            before = len(self._held)
            pieces += self._thought_of() if self._inside else self._opened()
            if len(self._held) == before:
                break
        return pieces

    def _opened(self) -> list[Token | Reasoning]:
        begun = self._held.lstrip()
        if begun.startswith(OPENING):
            self._held, self._inside, self._thought = begun[len(OPENING) :], True, True
            return []
        if OPENING.startswith(begun) and len(self._held) <= MAX_SPACE:
            return []  # perhaps the beginning of one
        self._answering = True
        text, self._held = begun if self._thought else self._held, ""
        return [Token(text)] if text else []

    def _thought_of(self) -> list[Token | Reasoning]:
        text, closing, rest = self._held.partition(CLOSING)
        if closing:
            self._held, self._inside = rest, False
        else:
            held = _begun_at_the_end(text)
            text, self._held = text[: len(text) - held], text[len(text) - held :]
        return [Reasoning(text)] if text else []


class Joined:
    """Makes texts that were cut within a character (UTF-16 surrogates in JSON) storable: joins the halves, and replaces what has none."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The text, without a last half character, which waits for its other half. NUL, which no database takes, is left out."""
        if text.isascii() and not self._half:
            return text.replace("\0", "")
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return self._mended(text)

    def end(self) -> str:
        """What stands for a half that nothing has come for."""
        half, self._half = self._half, ""
        return self._mended(half)

    @staticmethod
    def _mended(text: str) -> str:
        text = text.replace("\0", "")
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if _SURROGATES.search(text) else text


def _begun_at_the_end(text: str) -> int:
    """How many characters at the end may be the beginning of the closing tag."""
    return next((size for size in range(min(len(CLOSING) - 1, len(text)), 0, -1) if text.endswith(CLOSING[:size])), 0)
