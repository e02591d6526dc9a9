"""Every operation of the server's OpenAPI document, and a body for each that fits its schema: for walks over all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BY_FORMAT = {"uuid": "6f1c0d5e-2b1a-4c57-9d43-0a4f3a6f7b10", "date-time": "2026-11-26T00:00:00Z", "binary": "\0\0"}
"""A text of each format; the last one is an update that brings nothing."""


@dataclass(frozen=True, slots=True)
class Door:
    """An operation."""

    method: str
    path: str
    operation: Mapping[str, Any]
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names(self) -> list[str]:
        """The parameters in its path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    @property
    def needs_token(self) -> bool:
        """Whether the document says that it asks for an access token."""
        return "security" in self.operation

    @property
    def takes_library(self) -> bool:
        """Whether it can be about another library than one's own."""
        return any(parameter["name"] == "library" for parameter in self.operation.get("parameters", ()))

    def target(self, ids: Mapping[str, str], library: str | None = None) -> str:
        """Its address with these ids."""
        return self.path.format_map(ids) + ("" if library is None or not self.takes_library else f"?library={library}")

    def leads(self, target: str) -> bool:
        """Whether an address is one of its own."""
        parts, found = self.path.split("/"), target.split("/")
        return len(parts) == len(found) and all(part in ("{" + part[1:-1] + "}", each) for part, each in zip(parts, found, strict=True))

    def body(self) -> tuple[str, Any] | None:
        """The kind of body that it takes, and the least one that its schema allows; None where it takes none."""
        content = self.operation.get("requestBody", {}).get("content", {})
        if not content:
            return None
        kind = "application/json" if "application/json" in content else next(iter(content))
        return kind, self._sample(content[kind]["schema"])

    def _sample(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            return self._sample(self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        for given in ("const", "default"):
            if given in schema:
                return schema[given]
        for given in ("enum", "examples"):
            if given in schema:
                return schema[given][0]
        for parts in ("anyOf", "oneOf", "allOf"):
            if parts in schema:
                return self._sample(schema[parts][0])
        match schema.get("type"):
            case "object":
                properties = schema.get("properties", {})
                needed = schema.get("required", ()) or list(properties)[: schema.get("minProperties", 0)]
                return {name: self._sample(properties[name]) for name in needed}
            case "array":
                return [self._sample(schema["items"]) for _ in range(schema.get("minItems", 0))]
            case "integer" | "number":
                return schema.get("minimum", 0)
            case "boolean":
                return True
            case "string":
                return self._text(schema)
        return None

    def _text(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema:
            return "#5b8def"
        return BY_FORMAT.get(str(schema.get("format")), "x" * int(schema.get("minLength", 1)))


def doors(document: Mapping[str, Any]) -> list[Door]:
    """All of them."""
    return [
        Door(method.upper(), path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
