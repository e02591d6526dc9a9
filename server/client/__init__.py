"""A client of `promptsync.v1` for asyncio programs: a document that stays in step, and edits that are not lost.

copy = LibraryCopy()
async with connect("https://sync.example", token, queue="/home/me/.prompts") as client:
    library = await client.open(library_id, copy)
    await library.push(operations.set_fields(copy.library, prompt_id, {"title": "Greeting"}))
    await library.saved()
"""

from server.client.client import SyncClient, connect
from server.client.connection import Connected, Disconnected
from server.client.document import Document
from server.client.errors import ClientError, ClosedForGood, PushRefused, QueueBroken, QueueBusy, QueueFull
from server.client.library import Library

__all__ = [
    "ClientError",
    "ClosedForGood",
    "Connected",
    "Disconnected",
    "Document",
    "Library",
    "PushRefused",
    "QueueBroken",
    "QueueBusy",
    "QueueFull",
    "SyncClient",
    "connect",
]
