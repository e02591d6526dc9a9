"""Which library a request is about, and whether the asking user may see it: a dependency that the library's routes share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from auth.sessions import Principal, Use
from auth.tokens import Audience
from crdt.view import View
from server.editor import Edited, Editor
from server.routes.asking import SIGNED_IN, Token, services_of
from server.routes.standing import as_it_stands
from server.routes.texts import Id
from server.services import Services
from storage.errors import NotFound
from storage.libraries import Library

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AtLibrary:
    """A library that the asking user is a member of, as it stood when the request came."""

    library: Library
    principal: Principal
    _editor: Editor

    @property
    def is_own(self) -> bool:
        """Whether it is the asking user's own, where their preferences and models are."""
        return self.library.id == self.principal.user.library_id

    async def read(self, question: Callable[[View], T], *, away: bool = False) -> T:
        """See `Editor.read`."""
        return await self._editor.read(self.library, question, away=away)

    async def edit(self, change: Callable[[View], T], *, on_all: bool = False, away: bool = False) -> Edited[T]:
        """See `Editor.edit`."""
        return await self._editor.edit(self.library, change, session_id=self.principal.session_id, on_all=on_all, away=away)

    async def as_it_stands(self, services: Services) -> "AtLibrary":
        """See `standing.as_it_stands`."""
        return replace(self, library=await as_it_stands(services, self.library, self.principal.session_id))

    def address(self, path: str) -> str:
        """Where something of this library is found: without a name it is the user's own that is meant."""
        return path if self.is_own else f"{path}?library={self.library.id}"


async def at_library(
    request: Request,
    token: Token,
    library: Annotated[Id | None, Query(description="which library; without it the asking user's own")] = None,
) -> AtLibrary:
    """The library that `?library=` names.

    Raises:
        as `principal`; NotFound: there is no such library, or it is none of the user's business.
    """
    services = services_of(request)
    use = Use(address=partial(services.address_of, request))
    asking, found = await services.sessions.authenticate_in(token, {Audience.ACCESS}, library, now=services.clock(), use=use)
    request.state.principal = asking
    if found is None:
        raise NotFound
    editor = request.app.state.editor
    assert isinstance(editor, Editor)  # noqa: S101  # set by create_api; tells the type checker
    return AtLibrary(found, asking, editor)


async def own_library(request: Request, token: Token) -> AtLibrary:
    """The asking user's own library, where what is the user's alone lies. Raises as `at_library`."""
    return await at_library(request, token)


At = Annotated[AtLibrary, Depends(at_library)]
AtOwn = Annotated[AtLibrary, Depends(own_library)]
_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415}
READS = {"invalid_request": 422, "not_found": 404, "document_too_large": 413, "too_costly": 413, "try_later": 503, **SIGNED_IN}
"""What every route that reads a library can refuse with."""
WRITES = {"forbidden": 403, "unstorable": 422, "library_overgrown": 413, **_FORM, **READS}
"""What every route that changes one can refuse with."""
