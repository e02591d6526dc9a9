"""Who may come in by a WebSocket: what is checked before a socket may say anything, and before a library is opened on it."""

from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from auth.errors import SessionEnded
from auth.sessions import Principal, Use
from auth.tokens import Audience
from protocol.closes import Close
from server.cross_site import is_known
from server.errors import UnknownHost, answer_to, is_expected
from server.hosts import is_served
from server.limits.places import Places
from server.services import Services
from server.sockets import Hall
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library
from storage.standings import standings

log = structlog.get_logger(__name__)

BEARER = "bearer."
_TOKEN_PARAMETERS = {"token", "access_token", "sync_token", "refresh_token", "authorization", "auth", "bearer", "jwt"}


class Turned(Exception):
    """An opening that is turned away, with what the client is told."""

    def __init__(self, close: Close, reason: str) -> None:
        super().__init__(reason)
        self.close = close
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who opens which library."""

    principal: Principal
    library: Library


class Admission:
    """Asks everything that must hold; nothing asks the database before the address is counted."""

    def __init__(self, services: Services, hall: Hall) -> None:
        self._services = services
        self._hall = hall
        settings = hall.settings
        self._places = Places(a_user=settings.sockets_a_user, openings_a_second=settings.openings_a_user_a_second, clock=hall.now)

    def greet(self, scope: Scope) -> None:
        """Let a socket speak. Raises Turned, UnknownHost."""
        self.count(self.address(scope))
        headers = Headers(scope=scope)
        if not is_served(headers, self._services.settings):
            raise UnknownHost
        self._check_origin(headers)
        if any(name.lower() in _TOKEN_PARAMETERS for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
            raise Turned(Close.UNAUTHENTICATED, "a token in the address ends up in logs: send it as a header or subprotocol")

    def count(self, address: str) -> None:
        """Count one opening of this address. Raises Turned where there are too many, or the server stops."""
        if self._hall.draining:
            raise Turned(Close.RESTART, "the server is going down")
        if not self._services.openings.allow(address):
            raise Turned(Close.BUSY, "too many openings from this address")

    def seat(self, user_id: UUID) -> None:
        """Count a socket of this user's, until `leave`. Raises Turned where there are too many."""
        if (reason := self._places.take(user_id)) is not None:
            raise Turned(Close.BUSY, reason)

    def leave(self, user_id: UUID) -> None:
        """A socket that was counted is gone."""
        self._places.leave(user_id)

    async def identify(self, token: str, address: str) -> Principal:
        """Whose token it is; that its session was used from this address is noted. Raises what `answer_to` has an answer to."""
        use = Use(address=lambda: address, is_opening=True)
        return await self._services.sessions.authenticate(token, {Audience.SYNC, Audience.ACCESS}, now=self._services.clock(), use=use)

    async def library(self, library_id: UUID, user_id: UUID) -> Library:
        """The library as this user sees it. Raises NotFound, Unavailable."""
        async with self._services.database.acquire() as connection:
            library = await libraries.for_user(connection, library_id, user_id)
        if library is None:
            raise NotFound
        return library

    async def library_of_session(self, library_id: UUID, session_id: UUID, user_id: UUID) -> Library:
        """The same, for a session that may have ended since it was identified. Raises SessionEnded, too."""
        async with self._services.database.acquire() as connection:
            if not await standings(connection, [(session_id, library_id)]):
                raise SessionEnded
            library = await libraries.for_user(connection, library_id, user_id)
        if library is None:
            raise NotFound
        return library

    def address(self, scope: Scope) -> str:
        """Where the socket comes from."""
        return self._services.address_of(HTTPConnection(scope))

    def _check_origin(self, headers: Headers) -> None:
        """A browser says which page opens the socket; that page must be known. Other clients send no Origin."""
        origin = headers.get("origin")
        if origin is None:
            return
        if not is_known(origin, headers, self._services.settings):
            raise Turned(Close.FORBIDDEN, "this origin is not on the list")


def tokens_in(scope: Scope) -> list[str]:
    """The tokens in the Authorization header and among the subprotocols."""
    found = [offer.removeprefix(BEARER) for offer in scope["subprotocols"] if offer.startswith(BEARER)]
    for value in Headers(scope=scope).getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    return found


def the_token(found: list[str]) -> str:
    """The only one of them. Raises Turned."""
    if len(found) != 1:
        raise Turned(Close.UNAUTHENTICATED, "exactly one token is needed")
    return found[0]


def as_turned(error: Exception) -> Turned:
    """What the client is told of an error that kept it out."""
    if isinstance(error, Turned):
        return error
    if not is_expected(error):
        log.error("opening_failed", error=type(error).__name__, exc_info=error)
    answer = answer_to(error)
    return Turned(answer.close, answer.title)
