"""The one table of what vendors say when they refuse: their codes and words -> why a call has failed. docs/providers.md tells it to people.

Most specific first: a vendor's code, then its sentence where the code says too little, then the status.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from server.ai.failures import Outcome

MAX_READ_BYTES = 64 << 10
"""Of a refusal's body; vendors write a few hundred. What is longer is not read, and the status decides."""


class Refusal(NamedTuple):
    """What a vendor says: its status (None where it comes after a good one), its codes in lower case, and its sentence, not masked yet."""

    status: int | None
    codes: tuple[str, ...]
    message: str


_CODES: Mapping[Outcome, Iterable[str]] = {
    Outcome.NO_QUOTA: (
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),  # OpenAI
        *("billing_error", "arrearage", "allocationquota.freetieronly", "insufficient_balance"),  # Anthropic, DashScope
        *("1113", "30001", "1008"),  # Zhipu, SiliconFlow, MiniMax
    ),
    Outcome.INVALID_KEY: (
        *("invalid_api_key", "account_deactivated", "authentication_error", "permission_error", "authorized_error", "invalidapikey"),
        *("api_key_invalid", "unauthenticated", "permission_denied", "accessdenied.unpurchased"),
        *("1000", "1001", "1002", "1003", "1004", "2049", "10000"),  # Zhipu and MiniMax, Cloudflare
    ),
    Outcome.UNKNOWN_MODEL: ("model_not_found", "modelnotfound", "model_not_supported", "1211", "20012", "5007"),
    Outcome.RATE_LIMITED: (
        *("rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "throttling", "throttling.ratequota", "limit_requests"),
        *("throttling.allocationquota", "throttling.burstrate", "1302", "1303", "1304", "1305", "1308"),
    ),
    Outcome.REJECTED: (
        *("context_length_exceeded", "content_filter", "content_policy_violation", "data_inspection_failed", "datainspectionfailed"),
        *("unsupported_country_region_territory", "request_too_large", "1210", "1213", "1214", "1261", "1301", "1026", "1027", "2013"),
    ),
    Outcome.FAILED: ("overloaded_error", "api_error", "server_error", "internal_error", "server_overloaded"),
}
_BY_CODE = {code: outcome for outcome, codes in _CODES.items() for code in codes}
_MINIMAX = {"1002": "rate_limit_exceeded", "1039": "rate_limit_exceeded", "1000": "server_error", "1013": "server_error"}
"""In its `base_resp`, where numbers mean something else than Zhipu's."""

_SENTENCES = (
    (
        Outcome.NO_QUOTA,
        re.compile(r"insufficient (balance|credit|quota)|credit balance is too low|requires more credits|余额不足|欠费|in good standing"),
    ),
    (
        Outcome.INVALID_KEY,
        re.compile(
            r"(api[ _-]?key|token|credentials?)\b.{0,20}\b(not valid|invalid|incorrect|expired)|(invalid|incorrect) (api[ _-]?key|token)"
        ),
    ),
    (
        Outcome.UNKNOWN_MODEL,
        re.compile(
            r"^model: \S+$|model.{0,120}(not exist|not found|is not supported)|no endpoints found"
            r"|not a valid model|unknown model|no such model|模型不存在"
        ),
    ),
)
"""For what comes with 400, 403, 404 or no status, where vendors put everything."""
_VAGUE = frozenset({None, 400, 403, 404, 422})
_STATUSES = {
    401: Outcome.INVALID_KEY,
    402: Outcome.NO_QUOTA,
    403: Outcome.INVALID_KEY,
    408: Outcome.TIMEOUT,
    429: Outcome.RATE_LIMITED,
    504: Outcome.TIMEOUT,
}
MAX_SENTENCE = 2_000
"""Characters that the patterns look at."""


def outcome_of(refusal: Refusal) -> Outcome:
    """Why the call has failed."""
    for code in refusal.codes:
        if code in _BY_CODE and not (code == "api_error" and refusal.status not in (None, 500)):
            return _BY_CODE[code]
    if refusal.status in _VAGUE:
        sentence = refusal.message[:MAX_SENTENCE].lower()
        for outcome, pattern in _SENTENCES:
            if pattern.search(sentence):
                return outcome
    status = refusal.status or _status_in(refusal.codes)
    if status is None or status >= 500 or status < 400:
        return _STATUSES.get(status or 0, Outcome.FAILED)
    return _STATUSES.get(status, Outcome.REJECTED)


def refusal_of(status: int | None, content: Any) -> Refusal:
    """What a vendor says in this JSON value: each has its own place for it."""
    if isinstance(content, list):  # Gemini's
        content = content[0] if content else {}
    if not isinstance(content, dict):
        return Refusal(status, (), "")
    if isinstance(base := content.get("base_resp"), dict):  # MiniMax's
        code = str(base.get("status_code"))
        return Refusal(status, (_MINIMAX.get(code, code),), _text(base.get("status_msg")))
    error = content.get("error", content.get("errors"))  # `errors` is ModelScope's, and, in a list, Cloudflare's
    if isinstance(error, list):
        error = error[0] if error else {}
    if isinstance(error, str):  # Ollama's
        return Refusal(status, (), error)
    told = error if isinstance(error, dict) else content  # SiliconFlow's has no `error`
    codes = [_text(told.get(name)).lower() for name in ("code", "type", "status")]
    codes += [_text(each.get("reason")).lower() for each in _listed(told.get("details")) if isinstance(each, dict)]
    return Refusal(status, tuple(code for code in codes if code), _text(told.get("message")))


def read_refusal(status: int, body: bytes) -> Refusal:
    """What a vendor says in this body; nothing where it is no JSON: pages of HTML say nothing to whoever called a model."""
    if len(body) > MAX_READ_BYTES:
        return Refusal(status, (), "")
    try:
        return refusal_of(status, json.loads(body))
    except (ValueError, RecursionError):
        text = body.decode(errors="replace").strip()
        return Refusal(status, (), "" if "<" in text else text)


def is_refusal(content: Any) -> bool:
    """Whether a JSON value that came with a good status, or as an event, tells of a failure."""
    if not isinstance(content, dict):
        return False
    base = content.get("base_resp")
    return bool(content.get("error")) or (isinstance(base, dict) and base.get("status_code") not in (0, None))


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _status_in(codes: Iterable[str]) -> int | None:
    """The status that a vendor has put into its error, as OpenRouter does."""
    return next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), None)
