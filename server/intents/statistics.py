"""How much there is in a library, and when and on which devices it was made. Counted where the document lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from crdt.view import View
from server.times import moment

DAYS = 90
"""Days of activity, today among them: what a chart shows."""
MOST_DEVICES = 100
"""Devices that are told of, the busiest first: clients may write any number of them. Of more the rest is counted together."""


@dataclass(slots=True)
class Activity:
    """What was made: prompts, and versions of prompts."""

    prompts: int = 0
    versions: int = 0
    last: int = 0
    """When the last of these was made, in ms since 1970."""

    def count(self, *, prompts: int = 0, versions: int = 0, at: int = 0) -> None:
        self.prompts += prompts
        self.versions += versions
        self.last = max(self.last, at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What there is."""

    prompts: int
    deleted: int
    favorites: int
    versions: int
    categories: int
    tags: int
    templates: int
    document_bytes: int
    """As one update."""
    days: Mapping[date, Activity]
    """In UTC, oldest first; those without any activity too."""
    devices: Mapping[str, Activity]
    """By the devices' ids, over all time, the busiest first."""
    others: Activity = field(default_factory=Activity)
    """On the devices that are not told of."""


def statistics(view: View, *, now: int) -> Statistics:
    """What there is in the library; prompts in the bin and their versions count as activity too."""
    prompts = view.prompts()
    today = moment(now).date()
    days = {today - timedelta(days=DAYS - 1 - place): Activity() for place in range(DAYS)}
    devices: dict[str, Activity] = {}

    def made(at: int, device: str, *, prompts: int = 0, versions: int = 0) -> None:
        devices.setdefault(device, Activity()).count(prompts=prompts, versions=versions, at=at)
        if (day := days.get(moment(at).date())) is not None:
            day.count(prompts=prompts, versions=versions, at=at)

    for prompt in prompts:
        made(prompt.created_at, prompt.created_by, prompts=1)
    for at, device in view.made():
        made(at, device, versions=1)
    busiest = sorted(devices, key=lambda device: (-devices[device].prompts - devices[device].versions, device))
    others = Activity()
    for device in busiest[MOST_DEVICES:]:
        others.count(prompts=devices[device].prompts, versions=devices[device].versions, at=devices[device].last)
    live = Counter(prompt.favorite for prompt in prompts if prompt.deleted_at is None)
    return Statistics(
        prompts=live.total(),
        deleted=len(prompts) - live.total(),
        favorites=live[True],
        versions=sum(prompt.versions for prompt in prompts),
        categories=sum(category.deleted_at is None for category in view.categories()),
        tags=sum(tag.merged_into is None for tag in view.tags()),
        templates=sum(template.deleted_at is None for template in view.templates()),
        document_bytes=len(view.library.content()),
        days=days,
        devices={device: devices[device] for device in busiest[:MOST_DEVICES]},
        others=others,
    )
