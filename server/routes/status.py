"""`GET /api/sync/status` and `POST /api/sync/force`: how a user's libraries stand, and bringing them up to date now."""

import base64
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from server.problems import fails
from server.roster import Seen
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from server.routes.texts import Body, Id
from server.status import Overseer, Status, Unfinished
from storage.libraries import Role

MAX_DEVICES = 200
"""Devices of a library that are listed, one's own first: `devices_cut` says that there are more."""


class SnapshotView(BaseModel):
    """The newest snapshot that has been read back and compared: it holds everything up to `seq`."""

    seq: int
    bytes: int


class TailView(BaseModel):
    """The updates after the snapshot; their bytes as stored."""

    updates: int
    bytes: int


class OwnDevice(BaseModel):
    """A connected device of the asking user's."""

    session_id: UUID
    device_id: UUID | None
    device_name: str | None
    platform: str | None
    dialect: str
    client: str | None = Field(description="name and version, if it has said them")
    may_write: bool
    seq: int | None = Field(description="up to where it is known to have everything")
    since: datetime


class OtherDevice(BaseModel):
    """A connected device of another member's."""

    dialect: str
    seq: int | None


class LibraryStatus(BaseModel):
    """How one library stands, without anything that is in it."""

    id: UUID
    name: str
    role: Role
    epoch: int
    head: int = Field(description="seq of the newest update")
    state_vector: str | None = Field(description="what the server holds (Yjs v1, base64); null: it cannot be read at the moment")
    snapshot: SnapshotView | None
    tail: TailView
    gaps: int | None = Field(description="clients of which something in between is missing")
    quarantined: int
    last_change: datetime | None = Field(description="when the newest update was stored; about, once it is in a snapshot alone")
    devices: list[OwnDevice | OtherDevice]
    devices_cut: bool = Field(description="whether there are more devices than are listed")


class StatusList(BaseModel):
    """Every library of a user, oldest first."""

    libraries: list[LibraryStatus]


class ForceBody(Body):
    """Which library is to be brought up to date; without one, all of the user's."""

    library: Id | None = None


class UnfinishedView(BaseModel):
    """What was not done: devices that did not bring all in time, or a compaction."""

    library: UUID
    what: Literal["devices", "compaction"]
    reason: str = Field(
        description="`silent` devices; a compaction `running`, `busy` elsewhere, `failed`, `moved`, `too_large` or `broken`"
    )
    devices: int | None = Field(description="how many devices")


class Forced(StatusList):
    """The same once devices have exchanged and tails are folded, and what of that was not finished."""

    unfinished: list[UnfinishedView]


def status_router(overseer: Overseer) -> APIRouter:
    """The routes, over what oversees the libraries of this server."""
    router = APIRouter(prefix="/api/sync", tags=["sync"], route_class=StrictRoute)

    @router.get("/status", responses=fails(not_found=404, **SIGNED_IN))
    async def status(asking: Asking, library: Annotated[Id | None, Query()] = None) -> StatusList:
        """How the libraries that the asking user is a member of stand, and which devices have them open."""
        return StatusList(libraries=[_view(each, asking.user.id) for each in await overseer.status(asking.user.id, library)])

    @router.post(
        "/force",
        responses=fails(
            not_found=404,
            malformed_json=400,
            too_large=413,
            unsupported_media_type=415,
            invalid_request=422,
            too_many_attempts=429,
            **SIGNED_IN,
        ),
    )
    async def force(asking: Asking, services: Served, body: ForceBody | None = None) -> Forced:
        """Have connected devices exchange what is missing now, fold what lies after the snapshots, and say how things stand then."""
        await services.limits.force(asking.user.id)
        statuses, unfinished = await overseer.force(asking.user.id, body.library if body else None)
        return Forced(
            libraries=[_view(each, asking.user.id) for each in statuses],
            unfinished=[_unfinished(each) for each in unfinished],
        )

    return router


def _view(status: Status, user_id: UUID) -> LibraryStatus:
    found, standing = status.overview, status.standing
    devices = sorted(status.counted.devices, key=lambda device: (device.user_id != user_id, device.since))
    return LibraryStatus(
        id=found.library.id,
        name=found.library.name,
        role=found.library.role,
        epoch=standing.epoch if standing else found.library.epoch,
        head=standing.head if standing else found.library.head,
        state_vector=base64.b64encode(standing.state_vector).decode() if standing else None,
        snapshot=SnapshotView(seq=found.snapshot_seq, bytes=found.snapshot_bytes) if found.snapshot_seq else None,
        tail=TailView(updates=found.tail_updates, bytes=found.tail_bytes),
        gaps=standing.gaps if standing else None,
        quarantined=found.quarantined,
        last_change=found.last_change,
        devices=[_device(device, status, user_id) for device in devices[:MAX_DEVICES]],
        devices_cut=status.counted.cut or len(devices) > MAX_DEVICES,
    )


def _device(device: Seen, status: Status, user_id: UUID) -> OwnDevice | OtherDevice:
    if device.user_id != user_id:
        return OtherDevice(dialect=device.dialect, seq=device.seq)
    named = status.names.get(device.session_id)
    return OwnDevice(
        session_id=device.session_id,
        device_id=named.id if named else None,
        device_name=named.name if named else None,
        platform=named.platform if named else None,
        dialect=device.dialect,
        client=device.client or None,
        may_write=device.may_write,
        seq=device.seq,
        since=device.since,
    )


def _unfinished(unfinished: Unfinished) -> UnfinishedView:
    return UnfinishedView(library=unfinished.library_id, what=unfinished.what, reason=unfinished.reason, devices=unfinished.devices or None)
