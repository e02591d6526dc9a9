"""Messages of `promptsync.v1` as the vectors and the page of the wire write them: `["push", 0, 1, {"bytes": "ff"}]`."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from uuid import UUID

from protocol import messages
from protocol.messages import FromClient, FromServer, Hello, Open, Opened, Status, StatusAsked, Welcome

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "tests" / "protocol" / "vectors" / "promptsync-v1.json"
NAMES = {messages.CloseChannel: "close", messages.StatusAsked: "status"}


def vectors() -> dict[str, list[dict[str, Any]]]:
    """What the file holds: `vectors` to read, and `refused`."""
    read = json.loads(PATH.read_text())
    return {name: read[name] for name in ("vectors", "refused")}


def frame_of(vector: dict[str, Any]) -> bytes:
    """A vector's bytes."""
    return bytes.fromhex(vector["hex"]) + bytes(vector.get("zeros", 0))


def fields_of(message: FromClient | FromServer) -> list[Any]:
    """A message as the vectors write it."""
    name = NAMES.get(type(message), type(message).__name__.lower())
    said = {field.name: _plain(getattr(message, field.name)) for field in fields(message)}
    match message:
        case Hello():
            client = {"name": said.pop("client_name"), "version": said.pop("client_version")}
            return [name, _present(said) | {"client": client}]
        case Welcome(limits=limits):
            return [name, said | {"limits": asdict(limits)}]
        case Open() | Opened() | Status() | StatusAsked():
            return [name, said.pop("channel"), _present(said)]
    return [name, *said.values()]


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case UUID():
            return str(value)
    return value


def _present(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


# --- the page ---


def conversation(page: str) -> Iterator[tuple[str, list[Any], bytes]]:
    """Direction, message and bytes of each step of the page's conversation. A word for a value (`vector`) equals anything."""
    block = page.partition("A conversation (C client, S server; `tests/protocol")[2].split("```")[1]
    for step in re.split(r"\n(?=[CS] )", block.strip()):
        said, _, dump = step.partition("\n")
        array = said[2 : said.rindex("]") + 1]
        yield "client" if said[0] == "C" else "server", _Notation(array).value(), bytes.fromhex(dump)


class _Notation:
    """Reads `["open", 0, {library, vector, role: "owner"}]`; `0x…` are bytes."""

    def __init__(self, text: str) -> None:
        self._tokens = re.findall(r'"[^"]*"|\w+|[\[\]{}:,]', text)

    def value(self) -> Any:
        match token := self._tokens.pop(0):
            case "[":
                return list(self._until("]"))
            case "{":
                return dict(self._named("}"))
            case "true" | "false" | "nil":
                return {"true": True, "false": False, "nil": None}[token]
        if token.startswith("0x"):
            return {"bytes": token[2:]}
        return int(token) if token.isdigit() else token[1:-1] if token[0] == '"' else ANY

    def _until(self, end: str) -> Iterator[Any]:
        while self._tokens[0] != end:
            yield self.value()
            self._skip(",")
        self._tokens.pop(0)

    def _named(self, end: str) -> Iterator[tuple[str, Any]]:
        while self._tokens[0] != end:
            name = self._tokens.pop(0)
            yield name, self.value() if self._skip(":") else ANY
            self._skip(",")
        self._tokens.pop(0)

    def _skip(self, token: str) -> bool:
        if self._tokens[0] != token:
            return False
        self._tokens.pop(0)
        return True
