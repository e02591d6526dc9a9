"""What vendors write on their wires, as their documentation has it: what the scripted provider reads from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

CREATED = 1763000000


class Said(NamedTuple):
    """What a model says."""

    pieces: tuple[str, ...]
    reasoning: tuple[str, ...]
    usage: tuple[int, int] | None
    finish: str
    model: str

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def sse(data: Any, event: str | None = None) -> bytes:
    """One event of a stream."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


class Wire(Protocol):
    """One vendor's way to answer."""

    closing_events: ClassVar[int]
    """How many events end a stream, after the last piece but with it."""

    def plain(self, said: Said) -> Any: ...
    def events(self, said: Said, body: Mapping[str, Any]) -> list[bytes]: ...
    def error(self, status: int) -> Any: ...
    def error_event(self, error: Mapping[str, Any]) -> bytes: ...
    def endless(self, piece: str) -> tuple[list[bytes], bytes]: ...


class ChatCompletions:
    """https://platform.openai.com/docs/api-reference/chat"""

    closing_events: ClassVar[int] = 3
    _errors: ClassVar[dict[int, dict[str, Any]]] = {
        400: {"message": "Unsupported value: 'temperature' does not support 0.2 with this model.", "type": "invalid_request_error"}
        | {"param": "temperature", "code": "unsupported_value"},
        401: {
            "message": "Incorrect API key provided: sk-ab***wxyz.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        },
        404: {"message": "The model `gpt-9` does not exist or you do not have access to it.", "type": "invalid_request_error"}
        | {"param": None, "code": "model_not_found"},
        429: {"message": "Rate limit reached for requests", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
        500: {"message": "The server had an error while processing your request.", "type": "server_error", "param": None, "code": None},
    }

    def plain(self, said: Said) -> Any:
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        if said.reasoning:
            message["reasoning_content"] = "".join(said.reasoning)
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": CREATED, "model": said.model}
        whole["choices"] = [{"index": 0, "message": message, "finish_reason": said.finish}]
        return whole | self._usage(said)

    def events(self, said: Said, body: Mapping[str, Any]) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in said.reasoning]
        deltas += [{"content": piece} for piece in said.pieces]
        events = [self._chunk(said.model, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
        events.append(self._chunk(said.model, [{"index": 0, "delta": {}, "finish_reason": said.finish}]))
        if (body.get("stream_options") or {}).get("include_usage") and said.usage:
            events.append(self._chunk(said.model, [], self._usage(said)))
        return [*events, sse("[DONE]")]

    def error(self, status: int) -> Any:
        return {"error": self._errors.get(status, self._errors[500])}

    def error_event(self, error: Mapping[str, Any]) -> bytes:
        return sse({"error": error})

    def endless(self, piece: str) -> tuple[list[bytes], bytes]:
        return [], self._chunk("m", [{"index": 0, "delta": {"content": piece}, "finish_reason": None}])

    @staticmethod
    def _chunk(model: str, choices: Any, more: Mapping[str, Any] | None = None) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": choices}
        return sse(chunk | dict(more or {}))

    @staticmethod
    def _usage(said: Said) -> dict[str, Any]:
        if said.usage is None:
            return {}
        given, made = said.usage
        details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}
        return {"usage": {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made, **details}}


class Responses:
    """https://platform.openai.com/docs/api-reference/responses-streaming"""

    closing_events: ClassVar[int] = 2

    def plain(self, said: Said) -> Any:
        status = "completed" if said.finish == "stop" else "incomplete"
        output: list[Any] = []
        if said.reasoning:
            output.append({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "".join(said.reasoning)}]})
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        output.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content})
        whole: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": CREATED, "model": said.model, "status": status}
        whole |= {"output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        if status == "incomplete":
            whole["incomplete_details"] = {"reason": "max_output_tokens" if said.finish == "length" else said.finish}
        if said.usage is not None:
            whole["usage"] = {
                "input_tokens": said.usage[0],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": said.usage[1],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": sum(said.usage),
            }
        return whole

    def events(self, said: Said, body: Mapping[str, Any]) -> list[bytes]:
        whole = self.plain(said)
        begun = whole | {"status": "in_progress", "output": []}
        begun.pop("usage", None)
        told: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
        place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
        told += [
            {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": piece}
            for piece in said.reasoning
        ]
        told += [{"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in said.pieces]
        told.append({"type": f"response.{whole['status']}", "response": whole})
        return [sse({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(told)]

    def error(self, status: int) -> Any:
        return ChatCompletions().error(status)

    def error_event(self, error: Mapping[str, Any]) -> bytes:
        return sse({"type": "error", "sequence_number": 9, "param": None, **error}, "error")

    def endless(self, piece: str) -> tuple[list[bytes], bytes]:
        event = {
            "type": "response.output_text.delta",
            "output_index": 0,
            "item_id": "m",
            "content_index": 0,
            "delta": piece,
            "logprobs": [],
        }
        return [], sse({**event, "sequence_number": 1}, event["type"])  # type: ignore[arg-type]  # its type is a text


class Messages:
    """https://docs.anthropic.com/en/api/messages-streaming"""

    closing_events: ClassVar[int] = 4
    _kinds: ClassVar[dict[int, tuple[str, str]]] = {
        400: ("invalid_request_error", "max_tokens: 99999999 > 64000, which is the maximum allowed number of output tokens"),
        401: ("authentication_error", "invalid x-api-key"),
        402: ("billing_error", "There's an issue with your billing or payment information."),
        403: ("permission_error", "Your API key does not have permission to use the specified resource."),
        404: ("not_found_error", "model: claude-9"),
        413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
        429: ("rate_limit_error", "This request would exceed your organization's rate limit"),
        500: ("api_error", "Internal server error"),
        529: ("overloaded_error", "Overloaded"),
    }
    _finish: ClassVar[dict[str, str]] = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}

    def plain(self, said: Said) -> Any:
        content: list[Any] = [{"type": "text", "text": said.text}]
        if said.reasoning:
            content.insert(0, {"type": "thinking", "thinking": "".join(said.reasoning), "signature": "c2lnbmF0dXJl"})
        return self._message(said) | {"content": content, "stop_reason": self._reason(said), "usage": self._usage(said)}

    def events(self, said: Said, body: Mapping[str, Any]) -> list[bytes]:
        given = said.usage[0] if said.usage else 0
        begun = self._message(said) | {"content": [], "stop_reason": None, "usage": {"input_tokens": given, "output_tokens": 1}}
        told: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
        place = 0
        if said.reasoning:
            told += self._block(0, {"type": "thinking", "thinking": "", "signature": ""}, "thinking", said.reasoning)
            place = 1
        told.append({"type": "ping"})
        told += self._block(place, {"type": "text", "text": ""}, "text", said.pieces)
        ended = {"stop_reason": self._reason(said), "stop_sequence": None}
        told.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": said.usage[1] if said.usage else 0}})
        told.append({"type": "message_stop"})
        return [sse(event, event["type"]) for event in told]

    def error(self, status: int) -> Any:
        kind, message = self._kinds.get(status, self._kinds[500])
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    def error_event(self, error: Mapping[str, Any]) -> bytes:
        return sse({"type": "error", "error": error}, "error")

    def endless(self, piece: str) -> tuple[list[bytes], bytes]:
        said = Said((piece,), (), (1, 1), "stop", "m")
        events = self.events(said, {})
        delta = next(event for event in events if b"content_block_delta" in event)
        return events[: events.index(delta)], delta

    def _reason(self, said: Said) -> str:
        return self._finish.get(said.finish, said.finish)

    @staticmethod
    def _message(said: Said) -> dict[str, Any]:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": said.model, "stop_sequence": None}

    @staticmethod
    def _usage(said: Said) -> dict[str, int]:
        given, made = said.usage or (0, 0)
        return {"input_tokens": given, "output_tokens": made, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}

    @staticmethod
    def _block(index: int, block: Mapping[str, Any], kind: str, pieces: Sequence[str]) -> list[dict[str, Any]]:
        deltas = [{"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", kind: piece}} for piece in pieces]
        return [
            {"type": "content_block_start", "index": index, "content_block": dict(block)},
            *deltas,
            {"type": "content_block_stop", "index": index},
        ]


class GeminiCompatible(ChatCompletions):
    """https://ai.google.dev/gemini-api/docs/openai: chat completions, refused in Google's own form, in a list"""

    _refusals: ClassVar[dict[int, tuple[str, str]]] = {
        400: ("INVALID_ARGUMENT", "Invalid value at 'temperature': 9 is not within 0 and 2"),
        401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        403: ("PERMISSION_DENIED", "Generative Language API has not been used in project 1 before or it is disabled."),
        404: ("NOT_FOUND", "models/gemini-9 is not found for API version v1main, or is not supported for generateContent."),
        429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        500: ("INTERNAL", "An internal error has occurred. Please retry."),
        503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    }

    def error(self, status: int) -> Any:
        word, message = self._refusals.get(status, self._refusals[500])
        return [{"error": {"code": status, "message": message, "status": word}}]


def wire_of(path: str) -> Wire:
    """The wire that is spoken at this path."""
    path = path.partition("?")[0]
    if path.endswith("/messages"):
        return Messages()
    if path.endswith("/responses"):
        return Responses()
    if "/v1beta/openai/" in path:
        return GeminiCompatible()
    return ChatCompletions()


def models(path: str, headers: Mapping[str, str], ids: Sequence[str]) -> Any:
    """The list of models, as the vendor that is asked by these headers writes it."""
    if "anthropic-version" in headers:
        data = [{"type": "model", "id": each, "display_name": each.title(), "created_at": "2026-01-01T00:00:00Z"} for each in ids]
        return {"data": data, "has_more": False, "first_id": next(iter(ids), None), "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": [{"id": each, "object": "model", "created": CREATED, "owned_by": "scripted"} for each in ids]}
