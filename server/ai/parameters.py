"""What may be set on a call, by provider: for people who fill in a configuration, not a filter. What is not listed passes through."""

from typing import NamedTuple


class Parameter(NamedTuple):
    """A parameter that a provider takes."""

    name: str
    type: str
    """`number`, `integer`, `boolean`, `string`, `strings` or `object`."""
    default: str
    """What happens where it is not set, in words: it is not sent then."""
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()
    """The only texts that it takes, where that is so."""


_MODELS_OWN = "the model's own"
_NO_LIMIT = "as many as the model may"
_TEMPERATURE = Parameter("temperature", "number", "1", 0, 2)
_TOP_P = Parameter("top_p", "number", "1", 0, 1)
_MAX_TOKENS = Parameter("max_tokens", "integer", _NO_LIMIT, 1)
_PENALTIES = (Parameter("presence_penalty", "number", "0", -2, 2), Parameter("frequency_penalty", "number", "0", -2, 2))
_SEED = Parameter("seed", "integer", "another each time")
_STOP = Parameter("stop", "strings", "none")
_TIMEOUT = Parameter("timeout", "integer", "the server's; in milliseconds, and never sent", 1_000, 600_000)

CHAT = (_TEMPERATURE, _TOP_P, _MAX_TOKENS, *_PENALTIES, _SEED, _STOP, _TIMEOUT)
"""What most take."""
_EFFORT = ("minimal", "low", "medium", "high")
OPENAI = (
    _TEMPERATURE,
    _TOP_P,
    Parameter("max_completion_tokens", "integer", _NO_LIMIT, 1),
    *_PENALTIES,
    _SEED,
    _STOP,
    Parameter("reasoning_effort", "string", "medium", values=_EFFORT),
    _TIMEOUT,
)
DEEPSEEK = (
    *CHAT,
    Parameter("thinking", "object", _MODELS_OWN),
    Parameter("reasoning_effort", "string", _MODELS_OWN, values=_EFFORT),
)
DASHSCOPE = (
    *CHAT,
    Parameter("enable_thinking", "boolean", _MODELS_OWN),
    Parameter("thinking_budget", "integer", _MODELS_OWN, 0),
    Parameter("enable_search", "boolean", "false"),
)
GEMINI = (
    _TEMPERATURE,
    _TOP_P,
    _MAX_TOKENS,
    _STOP,
    Parameter("reasoning_effort", "string", _MODELS_OWN, values=("none", *_EFFORT)),
    _TIMEOUT,
)
MESSAGES = (
    Parameter("temperature", "number", "1", 0, 1),
    _TOP_P,
    Parameter("top_k", "integer", _MODELS_OWN, 0),
    Parameter("max_tokens", "integer", "8192", 1),
    Parameter("stop_sequences", "strings", "none"),
    Parameter("thinking", "object", "no thinking"),
    _TIMEOUT,
)
