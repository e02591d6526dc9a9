"""Share links: their codes, random and in letters that are read alike by everybody and mean nothing in an address; and their end."""

import base64
from collections.abc import Callable, Collection
from uuid import UUID

import structlog

from server.services import Services
from storage import shares
from storage.errors import StorageError

log = structlog.get_logger(__name__)

CODE_BYTES = 20
"""Of randomness in a code: 160 bits, of which nobody guesses one."""
CODE_CHARACTERS = 32
"""Digits and small letters but i, l, o and u: five bits each."""
_STANDARD, _READABLE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
_TO_READABLE = bytes.maketrans(_STANDARD, _READABLE)


def draw_code(random: Callable[[int], bytes]) -> str:
    """A new code."""
    return base64.b32encode(random(CODE_BYTES)).translate(_TO_READABLE).decode()


def is_code(text: str) -> bool:
    """Whether this has the form of a code: nothing else is looked for."""
    return len(text) == CODE_CHARACTERS and set(text) <= set(_READABLE.decode())


async def end_links_to(prompt_ids: Collection[str], library_id: UUID, services: Services) -> None:
    """End the links to prompts that were just destroyed, so that nothing that ever has such an id again is shared by them.

    Never fails: what is not there is not read in any case.
    """
    try:
        async with services.database.acquire() as connection:
            await shares.end_of_prompts(connection, services.keyring, library_id, prompt_ids, now=services.clock())
    except StorageError as error:
        log.warning("links_not_ended", library=str(library_id), error=type(error).__name__)
