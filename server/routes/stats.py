"""`GET /api/library/stats`: how much there is in a library, and when and where it was made."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from server.intents.statistics import Activity, Statistics, statistics
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, At
from server.routes.body import StrictRoute
from server.times import moment, ms
from storage import overview, sessions
from storage.overview import Stored
from storage.sessions import DeviceNames

router = APIRouter(prefix="/api/library", tags=["libraries"], route_class=StrictRoute)


class PromptCounts(BaseModel):
    """How many prompts there are; those in the bin are counted apart."""

    live: int
    deleted: int
    favorites: int


class Bytes(BaseModel):
    """What the library takes."""

    document: int = Field(description="as one update, as a new device gets it")
    log: int = Field(description="the updates that the database keeps, as they are sealed")
    snapshots: int = Field(description="its snapshots, likewise")


class Day(BaseModel):
    """What was made on a day (UTC)."""

    day: dt.date
    prompts: int
    versions: int


class DeviceActivity(BaseModel):
    """What was made on a device, over all time."""

    device: str
    name: str | None = Field(description="what you call it; null for devices of others, and those of which no session is kept")
    prompts: int
    versions: int
    last: dt.datetime = Field(description="when the last of these was made")


class OtherActivity(BaseModel):
    """What was made on all devices that are not listed."""

    prompts: int
    versions: int


class Stats(BaseModel):
    """How much there is in a library. What is in the bin counts in `versions`, `activity` and `devices` too."""

    prompts: PromptCounts
    versions: int
    categories: int
    tags: int
    templates: int
    updates: int = Field(description="in the log")
    snapshots: int
    bytes: Bytes
    activity: list[Day] = Field(description="the last 90 days, oldest first")
    devices: list[DeviceActivity] = Field(description="the busiest first, at most 100")
    other_devices: OtherActivity


@router.get("/stats", responses=fails(**READS))
async def stats(at: At, services: Served) -> Stats:
    """How much there is in a library, what it takes, and when and on which devices it was made."""
    found = await at.read(partial(statistics, now=ms(services.clock())))
    async with services.database.acquire() as connection:
        stored = await overview.stored(connection, at.library.id)
        names = await sessions.device_names(connection, at.principal.user.id, _ids(found.devices))
    return _view(found, stored, names)


def _ids(devices: Mapping[str, object]) -> Iterator[UUID]:
    """Those that are ids of sessions' devices: clients may write others."""
    for device in devices:
        with suppress(ValueError):
            if str(found := UUID(device)) == device:
                yield found


def _view(found: Statistics, stored: Stored, names: Mapping[UUID, DeviceNames]) -> Stats:
    called = {str(device): each.name for device, each in names.items()}
    return Stats(
        prompts=PromptCounts(live=found.prompts, deleted=found.deleted, favorites=found.favorites),
        versions=found.versions,
        categories=found.categories,
        tags=found.tags,
        templates=found.templates,
        updates=stored.updates,
        snapshots=stored.snapshots,
        bytes=Bytes(document=found.document_bytes, log=stored.update_bytes, snapshots=stored.snapshot_bytes),
        activity=[Day(day=day, prompts=each.prompts, versions=each.versions) for day, each in found.days.items()],
        devices=[_device(device, called.get(device), each) for device, each in found.devices.items()],
        other_devices=OtherActivity(prompts=found.others.prompts, versions=found.others.versions),
    )


def _device(device: str, name: str | None, activity: Activity) -> DeviceActivity:
    return DeviceActivity(device=device, name=name, prompts=activity.prompts, versions=activity.versions, last=moment(activity.last))
