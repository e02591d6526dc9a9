"""Storing what a model has made of a prompt: one edit, tried again while the database is away, for the answer was paid for."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import structlog

from crdt.operations import NewVersion
from server.ai.builtin_templates import Mode
from server.ai.calls import Target
from server.ai.results import Result
from server.errors import TryLater
from server.intents import optimizing
from server.intents.optimizing import Kept
from server.routes.at import AtLibrary
from server.services import Services
from server.times import ms
from server.transfer.secrets import without_secrets
from storage.errors import Unavailable

log = structlog.get_logger(__name__)

AGAIN_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""How long the database is left alone between attempts; past them it is answered that the result could not be stored, and the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version that is to be made of a result. `input` is what was improved, where that cannot be read from its parent."""

    id: str
    result: Result = field(repr=False)
    mode: Mode
    parent: str | None
    note: str
    input: str | None
    template: str
    target: Target


async def keep_version(at: AtLibrary, prompt_id: str, version: Version, services: Services) -> Kept:
    """Make the version and use it, by whoever may still write the library.

    Raises:
        Missing: the prompt was destroyed meanwhile. One in the bin gets its version, and stays there.
        as `as_it_stands` and `Editor.edit`.
    """
    made = _new_version(version, at, ms(services.clock()))
    for seconds in (*AGAIN_SECONDS, None):
        try:
            standing = await at.as_it_stands(services)
            return (await standing.edit(partial(optimizing.keep, prompt_id=prompt_id, made=made))).answer
        except (Unavailable, TryLater) as error:
            if seconds is None:
                raise
            log.warning("result_waits", error=type(error).__name__)
            await asyncio.sleep(seconds)
    raise TryLater  # not reached: the last attempt raises


def _new_version(version: Version, at: AtLibrary, now: int) -> NewVersion:
    target, result = version.target, version.result
    usage = {"milliseconds": result.milliseconds, "finish_reason": result.reason, **result.usage._asdict()}
    more = {
        "model": target.model,
        "model_name": target.name,
        "template": version.template,
        "params": without_secrets(dict(target.params), "params", lambda place, kind: None),
        "usage": {name: value for name, value in usage.items() if value is not None},
        **({"input": version.input} if version.input is not None else {}),
    }
    return NewVersion(
        id=version.id,
        text=result.text,
        kind=version.mode.value,
        at=now,
        device=str(at.principal.device_id),
        parent=version.parent,
        note=version.note,
        more=more,
    )
