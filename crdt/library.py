"""The layout of a library's document: its roots, and what lies in them. `docs/library-schema.md` is the same for client authors.

Everything here is laid out so that what two devices do apart survives when it meets: a field is a register of its own (two devices that
set different fields both win), a text is typed into and never replaced, containers are made whole with their parent and never set again
(whoever sets one a second time drops what others put into it), and versions are written once. There are no secrets in it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from pycrdt import Doc, Map

from crdt.errors import DocumentBroken
from crdt.own_update import update_of
from crdt.panics import told_as_broken
from crdt.updates import EMPTY_STATE_VECTOR, EMPTY_UPDATE, inspect

SCHEMA = 1
"""The layout's number, at `meta.schema`."""


class Root(StrEnum):
    """The roots, each a Y.Map."""

    META = "meta"
    """`schema` -> 1"""
    PROMPTS = "prompts"
    """prompt id (UUIDv7 of the device that made it) -> Y.Map of PROMPT_FIELDS, made whole in one transaction"""
    VERSIONS = "versions"
    """version id -> JSON of VERSION_FIELDS, written once"""
    TEXTS = "texts"
    """version id -> Y.Text, made with its version"""
    LABELS = "labels"
    """`<prompt id>/<label>` -> version id"""
    USES = "uses"
    """`<prompt id>/<device id>` -> how often that device has used it; the sum counts"""
    CATEGORIES = "categories"
    """category id -> Y.Map of CATEGORY_FIELDS"""
    TAGS = "tags"
    """normalised tag -> JSON {label, color?, created_at, merged_into?}: a registry; which prompts have a tag is in the prompts"""
    TEMPLATES = "templates"
    """template id -> Y.Map of TEMPLATE_FIELDS"""
    MODELS = "models"
    """`<config id>/<field>` -> JSON; the key itself is elsewhere, `key_ref` tells where"""
    VARIABLES = "variables"
    """name -> string"""
    PREFS = "prefs"
    """key -> JSON"""
    DEVICE_PREFS = "device_prefs"
    """`<device id>/<key>` -> JSON"""
    CONTEXTS = "contexts"
    """context id -> Y.Map of CONTEXT_FIELDS"""


class Mode(StrEnum):
    """What a prompt is for."""

    BASIC_SYSTEM = "basic-system"
    BASIC_USER = "basic-user"
    PRO_MULTI = "pro-multi"
    PRO_VARIABLE = "pro-variable"
    IMAGE_TEXT2IMAGE = "image-text2image"
    IMAGE_IMAGE2IMAGE = "image-image2image"
    IMAGE_MULTIIMAGE = "image-multiimage"


PROMPT_FIELDS = (
    "title",  # string
    "description",  # string
    "original",  # Y.Text: what was written before anything was optimised
    "current",  # version id: whose text is the prompt now; null before the first version
    "tags",  # Y.Map normalised tag -> true: adding on two devices adds both, and adding wins over removing
    "category",  # category id or null; the category may be gone: shown as none
    "mode",  # Mode
    "variables",  # JSON map
    "messages",  # JSON list or null
    "favorite",  # bool
    "pinned",  # bool
    "order",  # fractional index, a string; equal ones go by id
    "examples",  # Y.Map example id -> JSON
    "media",  # JSON list of ids; the bytes are elsewhere
    "source",  # JSON: where it came from, `import_key` among it
    "created_at",  # ms since 1970
    "touched_at",  # ms since 1970, when somebody has left the prompt after editing it; never with each keystroke
    "deleted_at",  # ms since 1970, or null: in the bin
    "created_by",  # device id
)
VERSION_FIELDS = ("prompt", "parent", "kind", "note", "model", "model_name", "template", "input", "device", "at", "params", "usage")
CATEGORY_FIELDS = ("name", "description", "color", "parent", "order", "created_at", "deleted_at")
TEMPLATE_FIELDS = ("name", "type", "language", "content", "description", "updated_at", "deleted_at")
CONTEXT_FIELDS = ("title", "mode", "order", "updated_at", "deleted_at", "messages", "variables", "tools")
MODEL_FIELDS = (
    *("name", "enabled", "provider", "model", "base_url", "request_style", "params", "capabilities"),
    "key_ref",  # JSON: where the key is, of KEY_REF_FIELDS; null where there is none
    "created_at",  # ms since 1970, or not there: who made it did not say
    "updated_at",  # likewise
)
KEY_MODES = ("server", "e2e", "device")
KEY_REF_FIELDS = ("mode", "secret_id", "hint", "ct", "iv", "kdf")
"""What may stand in a `key_ref`: where the key is, or an end-to-end encrypted one that no server can open; never a key."""


class Library:
    """A library's document. Belongs to one thread; throw it away rather than keep it after an edit that was not stored."""

    def __init__(self, client_id: int | None = None) -> None:
        """`client_id` is the Yjs client that edits are written as; without one a random one is taken."""
        self.doc: Doc[Any] = Doc() if client_id is None else Doc(client_id=client_id)
        self._roots: dict[Root, Map[Any]] = {root: self.doc.get(root.value, type=Map) for root in Root}
        self.applied_bytes = 0
        """Size of all updates that were applied or made."""
        self._editing = False

    @classmethod
    def load(cls, update: bytes, client_id: int | None = None) -> Library:
        """The library that `update` holds. Raises InvalidUpdate, DocumentBroken."""
        library = cls(client_id)
        library.apply(update)
        return library

    def root(self, root: Root) -> Map[Any]:
        """The map at this root; what lies in it is whatever clients have put there."""
        return self._roots[root]

    def apply(self, update: bytes) -> None:
        """Take an update in. Raises InvalidUpdate, having changed nothing; DocumentBroken."""
        inspect(update)
        self.take(update)

    def take(self, update: bytes) -> None:
        """Take in what was inspected when it came and has been in the log since: for 8 MB that takes longer than loading.

        Raises DocumentBroken.
        """
        try:
            with told_as_broken():
                self.doc.apply_update(update)
        except (MemoryError, DocumentBroken):
            raise
        except Exception as error:
            raise DocumentBroken("Yrs cannot apply it") from error
        self.applied_bytes += len(update)

    def state_vector(self) -> bytes:
        """What is integrated (Yjs v1)."""
        return self.doc.get_state()

    def content(self, state_vector: bytes = EMPTY_STATE_VECTOR) -> bytes:
        """Everything that a holder of that state vector lacks, as one update."""
        return self.doc.get_update(state_vector)

    def edit(self, change: Callable[[], object]) -> bytes:
        """Make a change in one transaction and return the update that it made: 00 00 where it changed nothing.

        Edits within an edit join it: the outermost returns the update of all, and those inside 00 00. One that raises may leave its part
        behind in the document: check first, then write.
        """
        if self._editing:
            change()
            return EMPTY_UPDATE
        self._editing = True
        try:
            update = update_of(self.doc, change)
        finally:
            self._editing = False
        self.applied_bytes += len(update)
        return update
