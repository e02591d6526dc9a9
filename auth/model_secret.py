"""What a model is called with and nobody may see: an API key, and the values of headers that a gateway asks for."""

from collections.abc import Mapping
from typing import Never

SHOWN_FROM = 20
"""A key of fewer characters shows nothing of itself: four of its characters would be too much of it."""
SHOWN = 4


class ModelSecret:
    """An API key (None: the model takes none) and header values by their names. Shows nothing of itself, and is not pickled."""

    __slots__ = ("api_key", "headers")

    def __init__(self, api_key: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.api_key = api_key
        self.headers: Mapping[str, str] = dict(headers or {})

    @property
    def values(self) -> tuple[str, ...]:
        """Everything that must occur nowhere: the key and the header values."""
        return tuple(value for value in (self.api_key, *self.headers.values()) if value)

    @property
    def hint(self) -> str | None:
        """The key's last four characters, None where it is too short to show them."""
        return self.api_key[-SHOWN:] if self.api_key is not None and len(self.api_key) >= SHOWN_FROM else None

    def __bool__(self) -> bool:
        return bool(self.values)

    def __repr__(self) -> str:
        return "ModelSecret(***)"

    def __reduce__(self) -> Never:
        raise TypeError("a secret is neither pickled nor copied")
