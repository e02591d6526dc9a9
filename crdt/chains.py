"""What leads to something else, which leads to something else: parents of categories, tags that were merged.

Each device sees to it that there are no circles, and two that meet may make one all the same. A circle is broken at its smallest member,
on every device the same. All in time proportional to the number of links, however long a chain a client has written.
"""

from __future__ import annotations

from collections.abc import Mapping


def breaks(leads_to: Mapping[str, str]) -> set[str]:
    """Of each circle the smallest member: where it is broken."""
    found: set[str] = set()
    done: set[str] = set()
    for start in leads_to:
        trail: dict[str, None] = {}
        at = start
        while at in leads_to and at not in done and at not in trail:
            trail[at] = None
            at = leads_to[at]
        if at in trail:
            members = list(trail)
            found.add(min(members[members.index(at) :]))
        done.update(trail)
    return found


def ends(leads_to: Mapping[str, str]) -> dict[str, str]:
    """Where each link leads in the end; a circle ends at its smallest member."""
    broken = breaks(leads_to)
    found: dict[str, str] = {}
    for start in leads_to:
        trail = []
        at = start
        while at in leads_to and at not in broken and at not in found:
            trail.append(at)
            at = leads_to[at]
        end = found.get(at, at)
        found.update(dict.fromkeys(trail, end))
    return found
