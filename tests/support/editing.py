"""A library's document on a running server, read and edited without REST.

What is asked and changed is a function of this module: it may run in another process.
"""

import os
from collections.abc import Callable
from functools import partial
from uuid import UUID

from crdt.library import Root
from crdt.operations import NewPrompt, create_prompt, edit_original, set_fields
from crdt.view import View
from server.documents import INLINE_BYTES
from server.editor import Edited
from storage import libraries
from storage.cipher import library_key_place, update_place
from storage.libraries import Library
from tests.support.running import Running, User

LARGE = "x" * (3 * INLINE_BYTES)
"""A text that puts its library into the document process."""


async def stored(server: Running, user: User, library_id: UUID | None = None) -> Library:
    async with server.services.database.acquire() as connection:
        found = await libraries.for_user(connection, library_id or user.library_id, user.id)
    assert found is not None
    return found


async def edit(server: Running, user: User, change: Callable[[View], str], **options: bool) -> Edited[str]:
    return await server.app.editor.edit(await stored(server, user), change, session_id=user.session_id, **options)


async def read(server: Running, user: User, question: Callable[[View], object]) -> object:
    return await server.app.editor.read(await stored(server, user), question)


async def log(server: Running, library_id: UUID) -> list[bytes]:
    """The updates in the database, in order."""
    async with server.services.database.acquire() as connection:
        library = await connection.fetchrow("SELECT wrapped_key, key_id FROM libraries WHERE id = $1", library_id)
        rows = await connection.fetch("SELECT seq, epoch, sealed FROM updates WHERE library_id = $1 ORDER BY seq", library_id)
    assert library is not None
    key = server.services.keyring.unwrap(library["key_id"], library["wrapped_key"], library_key_place(library_id))
    return [key.open(row["sealed"], update_place(library_id, row["epoch"], row["seq"])) for row in rows]


def make(view: View, prompt_id: str, text: str = "") -> str:
    create_prompt(view.library, NewPrompt(id=prompt_id, title=prompt_id, created_at=1, device="d", order="a0", original=text))
    return prompt_id


def retitle(view: View, prompt_id: str, title: str) -> str:
    set_fields(view.library, prompt_id, {"title": title})
    return title


def append(view: View, prompt_id: str, text: str) -> str:
    whole = view.original(prompt_id) + text
    edit_original(view.library, prompt_id, whole)
    return whole


def titles(view: View) -> dict[str, str]:
    return {key: prompt["title"] for key, prompt in view.library.root(Root.PROMPTS).items()}


def process_id(view: View) -> int:
    return os.getpid()


async def large_library(server: Running) -> User:
    """Somebody whose library lies in the document process."""
    user = await server.user()
    await edit(server, user, partial(make, prompt_id="large", text=LARGE))
    assert await read(server, user, process_id) != os.getpid()
    return user
