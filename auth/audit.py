"""What is noted of accounts: the names of events, and who is behind a request."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage import audit
from storage.audit import NewEntry
from storage.pool import Connection


class Event(StrEnum):
    """What can have happened. Names are kept for ever: clients and operators read them."""

    REGISTERED = "registered"
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    REFRESH_REUSED = "refresh_reused"
    REFRESH_AHEAD = "refresh_ahead"
    REGISTRATION_ASKED = "registration_asked"
    VERIFICATION_ASKED = "verification_asked"
    EMAIL_VERIFIED = "email_verified"
    EMAIL_CHANGE_ASKED = "email_change_asked"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # an event, not a secret
    PASSWORD_RESET_ASKED = "password_reset_asked"  # noqa: S105
    PASSWORD_RESET = "password_reset"  # noqa: S105
    IDENTITY_LINKED = "identity_linked"
    IDENTITY_UNLINKED = "identity_unlinked"
    IDENTITIES_JOINED = "identities_joined"
    ACCOUNT_RECLAIMED = "account_reclaimed"
    SESSION_ENDED = "session_ended"
    SESSIONS_ENDED = "sessions_ended"
    REAUTHENTICATED = "reauthenticated"
    REAUTHENTICATION_FAILED = "reauthentication_failed"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_ENABLED = "account_enabled"
    ACCOUNT_DELETED = "account_deleted"
    ROLE_CHANGED = "role_changed"
    PASSWORD_REPLACED = "password_replaced"  # noqa: S105  # a name
    MODEL_KEY_SET = "model_key_set"
    MODEL_KEY_ROTATED = "model_key_rotated"
    MODEL_KEY_REMOVED = "model_key_removed"
    MODEL_KEY_UNREADABLE = "model_key_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Where a request comes from: the address as far as it can be known, and what the client calls itself."""

    address: str = ""
    user_agent: str = ""


NOBODY = Caller()
"""Of what no request asked for."""


async def note(
    connection: Connection,
    event: Event,
    *,
    now: datetime,
    user_id: UUID | None,
    caller: Caller = NOBODY,
    session_id: UUID | None = None,
    actor: str = "user",
    actor_id: UUID | None = None,
    target: object = None,
    **details: str | int | bool | None,
) -> None:
    """Note an event of this account in the caller's transaction. `details` must hold no secret and nobody's password or token."""
    await audit.append(
        connection,
        NewEntry(
            at=now,
            event=event.value,
            user_id=user_id,
            actor=actor,
            actor_id=actor_id,
            session_id=session_id,
            address=caller.address,
            user_agent=caller.user_agent,
            target=None if target is None else str(target),
            details=details,
        ),
    )
