"""Signing in and linking with a code of WeChat's. While WeChat is asked, no connection to the database is held."""

from dataclasses import dataclass, field
from datetime import datetime

from auth import audit
from auth.audit import Caller, Event
from auth.errors import InvalidState, ProviderTrouble, WeChatRefused
from auth.external_identities import ExternalIdentity
from auth.identities import Identities
from auth.sessions import Device, Grant, Principal
from auth.social_states import SocialStates
from auth.wechat import Kind, WeChat, WeChatUser
from storage.identities import Linked, Provider
from storage.pool import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a client has from WeChat; from a website also the state that came with the code, and the cookie of the browser."""

    kind: Kind
    code: str = field(repr=False)
    state: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class QrPage:
    """Where to send a browser, and the cookie that it has to bring back."""

    url: str = field(repr=False)
    cookie: str = field(repr=False)


class WeChatSignIn:
    """What a code of WeChat's is good for here."""

    def __init__(self, *, database: Database, identities: Identities, states: SocialStates, wechat: WeChat, redirect_uri: str) -> None:
        """`redirect_uri` is where WeChat's page sends browsers back to."""
        self._database = database
        self._identities = identities
        self._states = states
        self._wechat = wechat
        self._redirect_uri = redirect_uri

    async def begin(self, *, now: datetime, linking: Principal | None = None) -> QrPage:
        """WeChat's page with the QR code, for a browser that signs in; with `linking`, that adds an identity to that user's account.

        Raises:
            ProviderNotConfigured: no website is registered.
        """
        self._wechat.app(Kind.WEB)
        begun = await self._states.begin(Provider.WECHAT, now=now, linking=linking)
        return QrPage(url=self._wechat.qr_page(state=begun.state, redirect_uri=self._redirect_uri), cookie=begun.cookie)

    async def sign_in(self, presented: Presented, device: Device, *, now: datetime) -> Grant:
        """A session for whoever the code is of; of one who is new, in an account without an address. What WeChat refuses is noted.

        Raises:
            InvalidState: the browser did not begin this.
            the errors of `WeChat.exchange` and of `Identities.sign_in`.
        """
        try:
            user = await self._user(presented, now=now)
        except (InvalidState, ProviderTrouble, WeChatRefused) as error:
            await self._note_failure(presented.kind, type(error).__name__, device.caller, now)
            raise
        return await self._identities.sign_in(user.identity, device, now=now)

    async def link(self, principal: Principal, presented: Presented, *, now: datetime, caller: Caller) -> Linked:
        """Have whoever the code is of sign in to this account from now on.

        Raises:
            InvalidState: the browser did not begin this in this session.
            the errors of `WeChat.exchange` and of `Identities.link`.
        """
        user = await self._user(presented, now=now, linking=principal)
        return await self._identities.link(principal, user.identity, now=now, caller=caller)

    async def identify(self, presented: Presented, *, now: datetime) -> ExternalIdentity:
        """Whoever the code is of, signing nobody in.

        Raises:
            the errors of `sign_in` but those of `Identities`.
        """
        return (await self._user(presented, now=now)).identity

    async def _user(self, presented: Presented, *, now: datetime, linking: Principal | None = None) -> WeChatUser:
        self._wechat.app(presented.kind)
        if presented.kind is Kind.WEB:
            await self._states.take(Provider.WECHAT, state=presented.state or "", cookie=presented.cookie, now=now, linking=linking)
        return await self._wechat.exchange(presented.kind, presented.code)

    async def _note_failure(self, kind: Kind, reason: str, caller: Caller, now: datetime) -> None:
        """Whose sign-in it was is not known; of the error nothing but its kind is kept."""
        async with self._database.transaction() as connection:
            await audit.note(connection, Event.SIGN_IN_FAILED, now=now, user_id=None, caller=caller, method=kind.method, reason=reason)
