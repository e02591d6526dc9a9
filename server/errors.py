"""The one table: domain error -> HTTP status, stable code, close code. Nothing else decides what a client is told."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from auth import errors as auth
from crdt import errors as crdt
from crdt import operations, query
from crdt.shown import FullPrompt
from protocol.closes import Close
from protocol.errors import ProtocolError
from server.ai.errors import InvalidTemplate, ModelNotChosen, NothingToOptimize
from server.ai.failures import ModelFailed
from server.answers import MINUTE_SECONDS, MODEL_FAILURES, RETRY_SECONDS, Answer
from server.problems import Problem
from storage import errors as storage


class ServerError(Exception):
    """What the server itself refuses, beside the domain packages."""


class CrossSite(ServerError):
    """A browser's cookie came with a request of a page that may not act for its user, or of one that does not say which it is."""


class UnknownHost(ServerError):
    """The request is for a host that is not served here."""


class OwnLibrary(ServerError):
    """A user's own library cannot be deleted while the account lasts."""


class TooManyLibraries(ServerError):
    """The user owns as many libraries as one may."""


class TooManyAttempts(ServerError):
    """A limit on attempts is reached; `retry_after` seconds until there is room again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = max(1, retry_after)


class InvalidIdempotencyKey(ServerError):
    """The header is not one line of 1 to 255 printable ASCII characters, or there are two."""


class IdempotencyKeyReused(ServerError):
    """Under this key the user has sent another request."""


class IdempotencyInProgress(ServerError):
    """The first request under this key is still being worked on."""


class TooManyIdempotencyKeys(ServerError):
    """As many requests of the user's are being worked on, each under its key, as one may have."""


class TryLater(ServerError):
    """The server cannot take this at the moment: the writer is full, the room was reloaded, or the server goes down."""


class Unstorable(ServerError):
    """The database refuses this update for its content."""


class Overgrown(ServerError):
    """The library has as many clients and separate ranges as one may: it takes nothing new."""


class PreconditionFailed(ServerError):
    """The prompt has none of the tags that were asked for: `state` is what it is now."""

    def __init__(self, state: FullPrompt) -> None:
        super().__init__(state)
        self.state = state


class AlreadyThere(ServerError):
    """Something with this id is in the library already."""


class TooMany(ServerError):
    """The library has as many of these as one may."""


class InBin(ServerError):
    """The prompt is in the bin."""


class Gone(ServerError):
    """An earlier request under the same key has made it, and it was destroyed since."""


class AlreadyDone(ServerError):
    """An earlier request under the same key has done all of it, and its answer was too large to be kept."""


class ModelDisabled(ServerError):
    """The model configuration is switched off."""


class ModelIncomplete(ServerError):
    """The model configuration cannot be called as it stands; `what` names the field that is empty or not known here."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class UnknownReference(ServerError):
    """A field names something that is not in the library, or that would make a circle."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Damaged(ServerError):
    """A client has written this part of the document as what it must not be: it can be read as far as it goes, and not be edited."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class BatchRefused(ServerError):
    """One operation of a batch was refused, and all were wanted: nothing is stored. `done` tells what would have become of each."""

    def __init__(self, done: Sequence[Any]) -> None:
        super().__init__(done)
        self.done = done


class TextTooLarge(ServerError):
    """A text is larger than what is compared here."""


class DocumentTooLarge(ServerError):
    """The library is too large to be made into a document here: devices sync it, REST does not read it."""


class WorkerDied(ServerError):
    """A worker process ended while it worked on this, twice: it took too much memory, or it was killed."""


class TookTooLong(WorkerDied):
    """A worker process was ended, since it took too long."""


class UnknownFile(ServerError):
    """The file is none that can be imported: another app's, or none at all."""


class NewerFile(ServerError):
    """The file is of a later version of our format than this server reads."""


class MalformedFile(ServerError):
    """The file breaks off, is damaged, or is not the JSON or zip that it begins as: `what` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class UnsupportedEncoding(ServerError):
    """The file's text is not UTF-8; `what` says what it looks like."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class TooManyValues(ServerError):
    """The file has more values than are read at once."""


class UnsafePackage(ServerError):
    """A package that is made to harm; `what` is what about it: entries, name, duplicate, size or ratio."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Refused(HTTPException):
    """A refusal of a request's form, raised where FastAPI reads the body (it lets only HTTPException through)."""

    def __init__(self, status: int, code: str, title: str) -> None:
        super().__init__(status, title)
        self.code = code


_INTERNAL = Answer(500, "internal", "Something went wrong here", Close.TRY_LATER)

TABLE: dict[type[Exception], Answer] = {
    auth.InvalidEmail: Answer(422, "invalid_email", "This is not a mail address that can have an account", Close.MALFORMED),
    auth.WeakPassword: Answer(422, "weak_password", "The password breaks a rule", Close.MALFORMED),
    auth.EmailTaken: Answer(409, "email_taken", "An account with this address exists", Close.FORBIDDEN),
    auth.InvalidCredentials: Answer(401, "invalid_credentials", "Wrong address or password", Close.UNAUTHENTICATED),
    auth.NotAuthenticated: Answer(401, "not_authenticated", "An access token is needed", Close.UNAUTHENTICATED),
    auth.InvalidToken: Answer(401, "invalid_token", "The token is not valid here", Close.UNAUTHENTICATED),
    auth.ExpiredToken: Answer(401, "token_expired", "The token's time is over: refresh it", Close.UNAUTHENTICATED),
    auth.InvalidRefreshToken: Answer(401, "invalid_refresh_token", "The refresh token is not valid", Close.UNAUTHENTICATED),
    auth.SessionEnded: Answer(401, "session_ended", "The session is over: sign in again", Close.UNAUTHENTICATED),
    auth.RecentLoginNeeded: Answer(403, "recent_login_required", "Show once more that it is you, then try again", Close.FORBIDDEN),
    auth.SocialRefused: Answer(401, "social_refused", "This sign-in is not accepted", Close.UNAUTHENTICATED),
    auth.LinkRequired: Answer(409, "link_required", "An account has this address: sign in as before, then link", Close.FORBIDDEN),
    auth.IdentityConflict: Answer(409, "identity_conflict", "This sign-in belongs to two accounts", Close.FORBIDDEN),
    auth.IdentityTaken: Answer(409, "identity_taken", "This signs another account in", Close.FORBIDDEN),
    auth.LastWayIn: Answer(409, "last_way_in", "Nothing else would be left to sign in with", Close.FORBIDDEN),
    auth.TooManyIdentities: Answer(409, "too_many_identities", "The account has as many as one may", Close.FORBIDDEN),
    auth.InvalidState: Answer(400, "invalid_state", "This sign-in was not begun here, or is over: begin again", Close.MALFORMED),
    auth.ProviderNotConfigured: Answer(404, "provider_not_configured", "This server does not take these sign-ins", Close.NOT_FOUND),
    auth.ProviderUnavailable: Answer(
        503, "provider_unavailable", "The provider does not answer at the moment: try again", Close.TRY_LATER, RETRY_SECONDS
    ),
    auth.LastAdmin: Answer(409, "last_admin", "There is no other administrator: make one first", Close.FORBIDDEN),
    auth.InvalidMailToken: Answer(
        403, "invalid_mail_token", "The token is none that was mailed for this, was used already, or its time is over", Close.FORBIDDEN
    ),
    auth.NoAddress: Answer(409, "no_address", "The account has no mail address", Close.FORBIDDEN),
    auth.TooBusy: Answer(503, "busy", "Too much to do at the moment: try again", Close.BUSY, RETRY_SECONDS),
    auth.Forbidden: Answer(403, "forbidden", "Your role does not allow this", Close.FORBIDDEN),
    auth.ProviderMisconfigured: Answer(500, "provider_error", "This way of signing in does not work at the moment", Close.TRY_LATER),
    auth.ProviderFailed: Answer(502, "provider_failed", "The other provider did not say who you are", Close.TRY_LATER),
    auth.ProviderTimeout: Answer(504, "provider_timeout", "The other provider takes too long", Close.TRY_LATER),
    auth.ProviderBusy: Answer(429, "provider_busy", "The other provider was asked too often about you: wait", Close.BUSY, MINUTE_SECONDS),
    auth.WeChatCodeInvalid: Answer(401, "wechat_code_invalid", "The code is not valid: get another one", Close.UNAUTHENTICATED),
    auth.WeChatBlocked: Answer(403, "wechat_blocked", "WeChat holds this sign-in back", Close.FORBIDDEN),
    auth.ModelKeyMissing: Answer(409, "model_key_missing", "No key is kept for this configuration: give it one", Close.FORBIDDEN),
    auth.ModelKeyElsewhere: Answer(
        409, "model_key_elsewhere", "The configuration's address has changed since its key was given: give it again", Close.FORBIDDEN
    ),
    auth.ModelKeyUnreadable: Answer(409, "model_key_unreadable", "The kept key cannot be opened: give it again", Close.FORBIDDEN),
    auth.TooManyModelKeys: Answer(409, "too_many", "The account keeps keys for as many configurations as one may", Close.FORBIDDEN),
    auth.TooManyModelHeaders: Answer(
        409, "too_many", "The configuration would have more headers, or more in them, than one may", Close.FORBIDDEN
    ),
    auth.WeChatVirtualAccount: Answer(403, "wechat_virtual_account", "WeChat has shown a preview: open the page in full", Close.FORBIDDEN),
    storage.Unavailable: Answer(
        503, "unavailable", "The database does not answer at the moment: try again", Close.TRY_LATER, RETRY_SECONDS
    ),
    storage.NotFound: Answer(404, "not_found", "There is nothing here", Close.NOT_FOUND),
    storage.Conflict: Answer(409, "conflict", "This collides with what is stored", Close.TRY_LATER),
    ProtocolError: Answer(400, "malformed", "The message does not follow the protocol", Close.MALFORMED),
    crdt.InvalidStateVector: Answer(422, "invalid_vector", "These bytes are not a Yjs state vector (v1)", Close.MALFORMED),
    crdt.CrdtError: Answer(422, "invalid_update", "These bytes are not a Yjs update (v1) that can be taken", Close.MALFORMED),
    TryLater: Answer(503, "try_later", "This cannot be taken at the moment: send it again", Close.TRY_LATER, RETRY_SECONDS),
    Unstorable: Answer(422, "unstorable", "The database refuses this update", Close.MALFORMED),
    Overgrown: Answer(413, "library_overgrown", "The library has too many clients or separate deletions", Close.TOO_LARGE),
    WorkerDied: Answer(413, "too_costly", "This update takes more memory than one may", Close.TOO_LARGE),
    DocumentTooLarge: Answer(413, "document_too_large", "The library is too large to be read over REST: sync it", Close.TOO_LARGE),
    TextTooLarge: Answer(413, "text_too_large", "The text is too large to be compared here: read both", Close.TOO_LARGE),
    PreconditionFailed: Answer(412, "precondition_failed", "It is not what it was: see `current`", Close.FORBIDDEN),
    AlreadyThere: Answer(409, "already_there", "Something with this id is there already", Close.FORBIDDEN),
    InBin: Answer(409, "in_bin", "It is in the bin: take it out first", Close.FORBIDDEN),
    Gone: Answer(404, "not_found", "It was created before, and destroyed since", Close.NOT_FOUND),
    AlreadyDone: Answer(409, "already_done", "This was done before, and its answer was too large to be kept", Close.FORBIDDEN),
    TooMany: Answer(409, "too_many", "The library has as many of these as one may", Close.FORBIDDEN),
    UnknownReference: Answer(422, "unknown_reference", "A field names something that is not in the library", Close.MALFORMED),
    InvalidTemplate: Answer(422, "invalid_template", "The template is none that a model can be asked with", Close.MALFORMED),
    NothingToOptimize: Answer(422, "nothing_to_optimize", "There is no text to improve: send one", Close.MALFORMED),
    ModelNotChosen: Answer(422, "model_not_chosen", "Name a model configuration, or set the preference `default_model`", Close.MALFORMED),
    Damaged: Answer(409, "damaged", "A client has written this part of the library wrongly: see `problems`", Close.FORBIDDEN),
    ModelDisabled: Answer(409, "model_disabled", "The configuration is switched off", Close.FORBIDDEN),
    ModelIncomplete: Answer(409, "model_incomplete", "The configuration names no provider or model that can be called", Close.FORBIDDEN),
    UnknownFile: Answer(422, "unknown_file", "This is no file that can be imported here", Close.MALFORMED),
    NewerFile: Answer(422, "newer_file", "The file is of a later version than this server reads", Close.MALFORMED),
    MalformedFile: Answer(422, "malformed_file", "The file is damaged, or not all of it is there", Close.MALFORMED),
    UnsupportedEncoding: Answer(422, "unsupported_encoding", "The file's text must be UTF-8", Close.MALFORMED),
    TooManyValues: Answer(413, "too_many_values", "The file has more values than are read at once: split it", Close.TOO_LARGE),
    UnsafePackage: Answer(422, "unsafe_package", "The zip has names or sizes that no backup has", Close.MALFORMED),
    BatchRefused: Answer(409, "batch_refused", "One of the operations was refused, so none is done: see `results`", Close.FORBIDDEN),
    query.InvalidCursor: Answer(422, "invalid_cursor", "The cursor is of another list, or none of ours", Close.MALFORMED),
    operations.Exists: Answer(409, "already_there", "Something with this id is there already", Close.FORBIDDEN),
    operations.IsCurrent: Answer(409, "is_current", "It is the current version: choose another one first", Close.FORBIDDEN),
    operations.Missing: Answer(404, "not_found", "There is nothing here", Close.NOT_FOUND),
    CrossSite: Answer(403, "cross_site", "With a cookie only our own pages may ask this", Close.FORBIDDEN),
    UnknownHost: Answer(421, "unknown_host", "This host is not served here", Close.FORBIDDEN),
    OwnLibrary: Answer(409, "own_library", "Your own library stays as long as the account", Close.FORBIDDEN),
    TooManyLibraries: Answer(409, "too_many_libraries", "You own as many libraries as one may", Close.FORBIDDEN),
    InvalidIdempotencyKey: Answer(
        422, "invalid_idempotency_key", "Idempotency-Key is 1 to 255 printable ASCII characters", Close.MALFORMED
    ),
    IdempotencyKeyReused: Answer(422, "idempotency_key_reused", "Another request was sent under this key: take a new one", Close.MALFORMED),
    IdempotencyInProgress: Answer(
        409, "idempotency_in_progress", "The first request under this key is still being worked on", Close.TRY_LATER, RETRY_SECONDS
    ),
    TooManyIdempotencyKeys: Answer(
        429, "too_many_idempotency_keys", "Too many requests under keys are being worked on: wait", Close.BUSY, RETRY_SECONDS
    ),
    TooManyAttempts: Answer(429, "too_many_attempts", "Too many attempts: wait", Close.BUSY),
}

_HTTP_CODES = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    431: "headers_too_large",
}


def answer_to(error: BaseException) -> Answer:
    """What a client is told of this error; of one that is not in the table, nothing but that it happened."""
    if isinstance(error, ModelFailed):
        return MODEL_FAILURES[error.outcome]
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return _INTERNAL


def close_for_unreadable(error: BaseException) -> Close:
    """How a socket is closed whose library cannot be read: for good only when the library is gone, since the device did nothing wrong."""
    return Close.NOT_FOUND if isinstance(error, storage.NotFound) else Close.TRY_LATER


def is_expected(error: BaseException) -> bool:
    """Whether the error is in the table; any other is a fault of ours and belongs into the log with its traceback."""
    return answer_to(error) is not _INTERNAL


def problem_of(error: BaseException) -> Problem:
    """The answer to this error over HTTP."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    answer = answer_to(error)
    asked_to_wait = error.retry_after if isinstance(error, TooManyAttempts | ModelFailed) else None
    retry_after = answer.retry_after if asked_to_wait is None else asked_to_wait
    detail = _detail(error)
    # RFC 9110, 15.5.2: a 401 names the scheme
    headers = {"WWW-Authenticate": "Bearer"} if answer.status == HTTPStatus.UNAUTHORIZED else {}
    return Problem(status=answer.status, code=answer.code, title=answer.title, detail=detail, retry_after=retry_after, headers=headers)


def _detail(error: BaseException) -> str | None:
    match error:
        case auth.WeakPassword(rule=rule):
            return rule
        case InvalidTemplate(reason=reason):
            return reason
        case UnknownReference(name=name):
            return name
        case ModelFailed(said=said):
            return said or None
        case (
            ModelIncomplete(what=what)
            | Damaged(what=what)
            | MalformedFile(what=what)
            | UnsupportedEncoding(what=what)
            | UnsafePackage(what=what)
        ):
            return what
        case _:
            return None


def _of_http(error: HTTPException) -> Problem:
    code = error.code if isinstance(error, Refused) else _HTTP_CODES.get(error.status_code, "refused")
    title = error.detail if isinstance(error, Refused) else HTTPStatus(error.status_code).phrase
    return Problem(status=error.status_code, code=code, title=title, headers=error.headers or {})
