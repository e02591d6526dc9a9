"""What sign-in, tokens and sessions can refuse. Errors carry data; `server/errors.py` turns them into answers."""


class AuthError(Exception):
    """The root of everything this package raises on purpose."""


class InvalidEmail(AuthError):
    """The text is not a mail address that can have an account. The text itself is not repeated."""


class WeakPassword(AuthError):
    """The password breaks a rule; `rule` names it."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class EmailTaken(AuthError):
    """An account with this address exists."""


class InvalidCredentials(AuthError):
    """Unknown address, wrong password or disabled account: one answer for all, so that none can be told from another."""


class NotAuthenticated(AuthError):
    """No token was given."""


class InvalidToken(AuthError):
    """The token is not one of ours for this use; `reason` is for the log only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ExpiredToken(InvalidToken):
    """The token was ours and its time is over."""

    def __init__(self) -> None:
        super().__init__("expired")


class InvalidRefreshToken(AuthError):
    """The refresh token is not one that this server gave out."""


class SessionEnded(AuthError):
    """The session is revoked, expired or gone, or its user may not sign in any more."""


class RecentLoginNeeded(AuthError):
    """This takes a session whose user has shown a password or another provider's word a short time ago."""


class RefreshReused(SessionEnded):
    """A refresh token came again after its successor was used: somebody has a copy, so the session was revoked."""


class LastAdmin(AuthError):
    """Without this account there would be no administrator: another one has to be made first."""


class TooBusy(AuthError):
    """Too many passwords wait to be checked; trying again later may succeed."""


class Forbidden(AuthError):
    """The role does not allow this."""
