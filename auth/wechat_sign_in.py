"""Signing in and linking with a code of WeChat's. While WeChat is asked, no connection to the database is held."""

from datetime import datetime

from auth import audit
from auth.audit import Caller, Event
from auth.errors import AuthError, ProviderTrouble, WeChatRefused
from auth.identities import Identities
from auth.sessions import Device, Grant, Principal
from auth.wechat import Kind, WeChat
from storage.identities import Linked
from storage.pool import Database


class WeChatSignIn:
    """What a code of WeChat's is good for here."""

    def __init__(self, *, database: Database, identities: Identities, wechat: WeChat) -> None:
        self._database = database
        self._identities = identities
        self._wechat = wechat

    def qr_page(self, *, state: str, redirect_uri: str) -> str:
        """The address of WeChat's page with the QR code; see `WeChat.qr_page`."""
        return self._wechat.qr_page(state=state, redirect_uri=redirect_uri)

    async def sign_in(self, kind: Kind, code: str, device: Device, *, now: datetime) -> Grant:
        """A session for whoever the code is of; of one who is new, in an account without an address.

        Raises:
            the errors of `WeChat.exchange`; what WeChat says is noted. And those of `Identities.sign_in`.
        """
        try:
            user = await self._wechat.exchange(kind, code)
        except (ProviderTrouble, WeChatRefused) as error:
            await self.note_failure(kind, error, device.caller, now=now)
            raise
        return await self._identities.sign_in(user.identity, device, now=now)

    async def link(self, principal: Principal, kind: Kind, code: str, *, now: datetime, caller: Caller) -> Linked:
        """Have whoever the code is of sign in to this account from now on.

        Raises:
            the errors of `WeChat.exchange` and of `Identities.link`.
        """
        user = await self._wechat.exchange(kind, code)
        return await self._identities.link(principal, user.identity, now=now, caller=caller)

    async def note_failure(self, kind: Kind, error: AuthError, caller: Caller, *, now: datetime) -> None:
        """Note that a sign-in failed of which it is not known whose it was; of the error nothing but its kind."""
        async with self._database.transaction() as connection:
            await audit.note(
                connection, Event.SIGN_IN_FAILED, now=now, user_id=None, caller=caller, method=kind.method, reason=type(error).__name__
            )
