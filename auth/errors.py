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


class ProviderTrouble(AuthError):
    """The other provider could not be asked who somebody is; `reason` is for the log only, and has no address and no secret."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class ProviderFailed(ProviderTrouble):
    """It answered what it never should, or not at all."""


class ProviderTimeout(ProviderTrouble):
    """It took too long."""


class ProviderBusy(ProviderTrouble):
    """It has been asked too often for this user within a minute."""


class ProviderMisconfigured(ProviderTrouble):
    """It does not know this server, or not its secret: only an operator can mend that."""


class WeChatRefused(AuthError):
    """WeChat does not say who somebody is."""


class WeChatCodeInvalid(WeChatRefused):
    """The code is unknown, used, expired, or was made for another app: one answer for all."""


class WeChatBlocked(WeChatRefused):
    """WeChat holds back this user's sign-ins."""


class WeChatVirtualAccount(WeChatRefused):
    """WeChat showed a page as a preview, to nobody in particular: there is no account behind it."""


class LastAdmin(AuthError):
    """Without this account there would be no administrator: another one has to be made first."""


class TooBusy(AuthError):
    """Too many passwords wait to be checked, or codes to be exchanged; trying again later may succeed."""


class InvalidMailToken(AuthError):
    """The token is none that was mailed for this, was used already, or its time is over."""


class NoAddress(AuthError):
    """The account has no mail address."""


class Forbidden(AuthError):
    """The role does not allow this."""


class SocialRefused(AuthError):
    """Another provider's word was not accepted, or its user may not sign in: one answer for all; `reason` is for the log only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LinkRequired(AuthError):
    """An account with this address exists, and the provider does not vouch for the mailbox: sign in as before, then link."""


class IdentityConflict(AuthError):
    """What the provider says of this person belongs to two accounts; they are never merged unasked."""


class IdentityTaken(AuthError):
    """This identity signs another account in."""


class LastWayIn(AuthError):
    """Without this identity nothing would be left to sign in with."""


class TooManyIdentities(AuthError):
    """The account has as many identities as one may."""


class InvalidState(AuthError):
    """The sign-in at another provider was not begun in this browser, is over, or came back before."""


class ProviderNotConfigured(AuthError):
    """This server does not take sign-ins of that provider, or not in this way."""


class ProviderUnavailable(ProviderTrouble):
    """The provider does not answer, or not as it should; trying again later may succeed."""


class ModelKeyMissing(AuthError):
    """No key is kept for a configuration that needs one."""


class ModelKeyElsewhere(AuthError):
    """The kept key was given for another address than the one that it would be sent to now."""


class ModelKeyUnreadable(AuthError):
    """The kept key does not open: its row was moved or altered, or is of another user's key."""


class TooManyModelKeys(AuthError):
    """The account keeps keys for as many configurations as one may."""


class TooManyModelHeaders(AuthError):
    """The configuration would have more headers, or more in them, than one may."""
