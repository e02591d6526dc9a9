"""What each role may do in a library."""

from storage.libraries import Role

_WRITERS = frozenset({Role.OWNER, Role.EDITOR})


def may_write(role: Role) -> bool:
    """Whether a member in this role may add anything to the library."""
    return role in _WRITERS


def may_delete(role: Role) -> bool:
    """Whether a member in this role may delete the whole library."""
    return role is Role.OWNER
