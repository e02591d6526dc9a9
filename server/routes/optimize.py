"""`POST /api/prompts/{id}/optimize` and `POST /api/optimize`: a model improves a prompt, and the result becomes a version of it.

The model is called with nothing held; then one edit makes the version. With `stream` the answer is read while it is made.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from auth.errors import Forbidden
from auth.permissions import may_write
from crdt.operations import Missing
from server.ai.builtin_templates import Language, Mode, builtin, default_id
from server.ai.calls import Call, Purpose, Target
from server.ai.errors import ModelNotChosen, NothingToOptimize
from server.ai.messages import Content, Subject, messages_for, template_content
from server.ai.results import Result
from server.ai.variables import changed
from server.announcer import Announcer
from server.answers import MODEL_CODES
from server.claim import Claim
from server.errors import AlreadyDone, TryLater, UnknownReference
from server.idempotency import REPLAYED
from server.intents import optimizing
from server.intents.optimizing import Kept, Material, Wanted
from server.letters import preferred
from server.optimizer import NotKept, Optimizer, Work, beside
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import WRITES, At, AtLibrary, AtOwn, at_library
from server.routes.creating import ONCE, Claimed, CreatingRoute, handed_over
from server.routes.etags import quoted
from server.routes.event_stream import EVENT_STREAM, EventStream, given_up_when_gone, told_at_once
from server.routes.json_answers import Json
from server.routes.keeping import Version, keep_version
from server.routes.optimize_bodies import ANSWERED, Optimize, OptimizedPromptView, OptimizedView, OptimizePrompt, OptimizeText
from server.routes.prompts import PromptId
from server.services import Services
from server.times import ms
from storage.errors import NotFound

_CHINESE = re.compile("[\u4e00-\u9fff]")
BEGIN_SECONDS = 15.0
"""How long an event stream is not begun while nothing has come: what fails until then is an ordinary answer."""
ASKS: dict[str, int] = {
    "invalid_template": 422,
    "nothing_to_optimize": 422,
    "model_not_chosen": 422,
    "unknown_reference": 422,
    "model_disabled": 409,
    "model_incomplete": 409,
    "model_key_missing": 409,
    "model_key_elsewhere": 409,
    "model_key_unreadable": 409,
    "already_done": 409,
    "too_many_attempts": 429,
    **MODEL_CODES,
    **ONCE,
    **WRITES,
}
"""What asking a model to improve something can be refused with."""


class _ReplayedRoute(CreatingRoute):
    """A creating route that tells an answer which it has kept in the form that is asked for now."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def told(request: Request) -> Response:
            answer = await handler(request)
            is_old = answer.headers.get(REPLAYED) == "true" and answer.status_code < 300
            if is_old and getattr(request.state, "streams", False) and answer.media_type != EVENT_STREAM:
                return told_at_once(bytes(answer.body), answer.headers)
            return answer

        return told


async def _streams(request: Request) -> bool:
    """Whether the answer is to be read while it is made. Known before the claim, which may know the answer."""
    body = await request.json()
    accepted = request.headers.get("accept", "").lower()
    request.state.streams = EVENT_STREAM in accepted or (isinstance(body, dict) and body.get("stream") is True)
    return bool(request.state.streams)


Streams = Annotated[bool, Depends(_streams)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """An improvement that is asked for, with what was found for it."""

    body: Optimize
    at: AtLibrary
    claim: Claim
    material: Material
    text: str
    language: Language
    target: Target
    template_id: str
    call: Call
    prompt_id: str | None = None
    version_id: str = field(default="")


def optimize_router(optimizer: Optimizer, announcer: Announcer) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["models"], route_class=_ReplayedRoute)

    @router.post(
        "/api/prompts/{prompt_id}/optimize",
        status_code=201,
        responses=fails(**ASKS) | {200: {"description": "Event stream", "content": ANSWERED}},
        response_model=OptimizedPromptView,
    )
    async def prompt(
        prompt_id: PromptId, body: OptimizePrompt, request: Request, at: At, streams: Streams, claim: Claimed, services: Served
    ) -> Response:
        """Have a model improve a prompt: the result is a new version, and the current one."""
        if not may_write(at.library.role):
            raise Forbidden
        wanted = Wanted(
            mode=body.mode,
            prompt_id=prompt_id,
            template_id=body.template_id,
            base_version_id=body.base_version_id,
            version_id=str(claim.id_for(1)),
            config_id=body.model_config_id,
            has_configs=at.is_own,
            only=claim.was_done,
        )
        material = await at.read(partial(optimizing.material, wanted=wanted))
        if material.kept is not None:
            return _in_form(_kept_before(material.kept, prompt_id, body, at), streams)
        asked = await _asked(body, at, claim, material, request, services)
        asked = replace(asked, prompt_id=prompt_id, version_id=wanted.version_id)
        shown = announcer.shown(at.library, _state(asked))
        return await _run(optimizer, asked, request, services, streams, shown)

    @router.post(
        "/api/optimize",
        responses=fails(**ASKS) | {200: {"description": "What the model has made", "content": ANSWERED}},
        response_model=OptimizedView,
    )
    async def text(body: OptimizeText, request: Request, at: AtOwn, streams: Streams, claim: Claimed, services: Served) -> Response:
        """Have a model improve a text, without storing anything of it."""
        if claim.was_done:
            raise AlreadyDone
        wanted = Wanted(mode=body.mode, template_id=body.template_id, config_id=body.model_config_id, has_configs=True)
        material = await at.read(partial(optimizing.material, wanted=wanted))
        asked = await _asked(body, at, claim, material, request, services)
        return await _run(optimizer, asked, request, services, streams, nullcontext())

    return router


async def _asked(body: Optimize, at: AtLibrary, claim: Claim, material: Material, request: Request, services: Services) -> _Asked:
    """What is asked for, ready to be begun. Raises what `Models.target` raises; OptimizeError, UnknownReference."""
    text = body.text if body.text is not None else material.text
    if not text.strip():
        raise NothingToOptimize
    preferences = await _preferences(at, material, request)
    config_id = body.model_config_id or preferences.get("default_model")
    if not config_id:
        raise ModelNotChosen
    language = body.language or _language(preferences.get("template_language"), request, text)
    template_id = body.template_id or default_id(body.mode, body.target)
    subject = Subject(
        mode=body.mode,
        text=text,
        original=material.original,
        instruction=body.instruction,
        conversation=body.conversation(),
        values={**material.variables, **body.variables},
        language=language,
    )
    messages = messages_for(_content(template_id, language, material), subject)
    try:
        editor = request.app.state.editor
        target = await services.models.target(at.principal, config_id, editor, params=body.params, config=material.config)
    except (NotFound, Missing) as error:
        raise UnknownReference("model_config_id") from error
    call = Call(target=target, messages=messages, purpose=Purpose(body.mode.value))
    return _Asked(
        body=body, at=at, claim=claim, material=material, text=text, language=language, target=target, template_id=template_id, call=call
    )


async def _preferences(at: AtLibrary, material: Material, request: Request) -> dict[str, Any]:
    """The asking user's, which are in the user's own library whatever library the prompt is in."""
    if at.is_own:
        return dict(material.preferences)
    token = request.headers["authorization"].partition(" ")[2].strip()
    own = await at_library(request, token)
    return dict(await own.read(optimizing.preferences))


def _language(preference: Any, request: Request, text: str) -> Language:
    """The language of our templates: as it is preferred, as the request says, or as the text is written."""
    accepted = request.headers.get("accept-language", "")
    if isinstance(preference, str) and preference:
        return Language.CHINESE if preference.lower().startswith("zh") else Language.ENGLISH
    if accepted:
        return Language(preferred(accepted).value)
    return Language.CHINESE if _CHINESE.search(text) else Language.ENGLISH


def _content(template_id: str, language: Language, material: Material) -> Content:
    ours = builtin(template_id, language)
    return ours.content if ours is not None else template_content(material.template)


def _state(asked: _Asked) -> str:
    """What the library's devices see meanwhile: docs/library-schema.md."""
    user, principal = asked.at.principal.user, asked.at.principal
    optimizing = {"prompt": asked.prompt_id, "mode": asked.body.mode, "by": principal.device_id, "since": ms(asked.claim.now)}
    return to_json({"user": {"id": user.id, "name": user.name}, "optimizing": optimizing}).decode()


async def _run(
    optimizer: Optimizer,
    asked: _Asked,
    request: Request,
    services: Services,
    streams: bool,
    shown: AbstractAsyncContextManager[None],
) -> Response:
    """Begin, and answer: once it has ended, or with the stream of it once that has begun."""
    optimization = optimizer.begin(
        Work(
            call=asked.call,
            user_id=asked.at.principal.user.id,
            shown=shown,
            keep=partial(_keep, asked, services),
            attempt=handed_over(request),
        ),
        is_read=streams,
    )
    async with AsyncExitStack() as watched:
        await watched.enter_async_context(beside(given_up_when_gone(request.receive, optimization)))
        if not streams:
            await optimization.ended.wait()
            return optimization.answer()
        await optimization.along.begun(BEGIN_SECONDS)
        return optimization.answer() if optimization.failed else EventStream(optimization, watched.pop_all())


async def _keep(asked: _Asked, services: Services, result: Result) -> Response:
    """Store the result where there is a prompt for it, and answer. Raises NotKept."""
    made = _optimized(asked, result)
    if asked.prompt_id is None:
        return Json(made)
    try:
        kept = await keep_version(asked.at, asked.prompt_id, _version(asked, result, services), services)
    except asyncio.CancelledError as error:  # broken off, since the server stops: who still listens has it at least
        raise NotKept(TryLater(), made) from error
    except Exception as error:
        raise NotKept(error, made) from error
    return _answer(made, kept, asked.prompt_id, asked.at)


def _optimized(asked: _Asked, result: Result) -> dict[str, Any]:
    differs = changed(asked.text, result.text, asked=asked.body.instruction)
    return {
        "text": result.text,
        "reasoning": result.reasoning,
        "lost_variables": differs.lost,
        "new_variables": differs.new,
        "finish_reason": result.reason,
        "usage": result.usage._asdict(),
        "milliseconds": result.milliseconds,
        "model": asked.target.model,
        "model_name": asked.target.name,
        "template": asked.template_id,
    }


def _version(asked: _Asked, result: Result, services: Services) -> Version:
    body, material = asked.body, asked.material
    note = body.note if isinstance(body, OptimizePrompt) else None
    return Version(
        id=asked.version_id,
        result=result,
        mode=body.mode,
        parent=material.parent,
        note=body.instruction if note is None else note,
        input=asked.text if asked.text != material.text or body.mode is Mode.OPTIMIZE else None,
        template=asked.template_id,
        target=asked.target,
    )


def _kept_before(kept: Kept, prompt_id: str, body: Optimize, at: AtLibrary) -> Response:
    """The answer of an earlier attempt that had got so far, made again from what it has stored."""
    noted: dict[str, Any] = kept.usage if isinstance(kept.usage, dict) else {}
    differs = changed(kept.base, kept.text, asked=body.instruction)
    made = {
        "text": kept.text,
        "reasoning": "",
        "lost_variables": differs.lost,
        "new_variables": differs.new,
        "finish_reason": noted.get("finish_reason", ""),
        "usage": {name: noted.get(name) for name in ("input_tokens", "output_tokens")},
        "milliseconds": noted.get("milliseconds", 0),
        **{name: kept.version[name] for name in ("model", "model_name", "template")},
    }
    return _answer(made, kept, prompt_id, at)


def _answer(made: dict[str, Any], kept: Kept, prompt_id: str, at: AtLibrary) -> Response:
    version_id = kept.version["id"]
    location = at.address(f"/api/prompts/{prompt_id}/history/{version_id}")
    told = {**made, "prompt_id": prompt_id, "version_id": version_id, "version": kept.version}
    return Json(told, status=201, headers={"ETag": quoted(kept.etag), "Location": location})


def _in_form(answer: Response, streams: bool) -> Response:
    return told_at_once(bytes(answer.body), answer.headers) if streams else answer
