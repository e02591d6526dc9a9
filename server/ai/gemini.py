"""How Gemini is asked by OpenAI's wire where a configuration is written for its own one, as those of apps and their files are."""

import re
from collections.abc import Mapping
from typing import Any

_OWN = re.compile(r"(https?://[^/]+)(/v1beta)?")
_DOOR = "/v1beta/openai"
"""Where it speaks OpenAI's wire: https://ai.google.dev/gemini-api/docs/openai"""
_NAMES = {"topP": "top_p", "maxOutputTokens": "max_tokens", "candidateCount": "n", "stopSequences": "stop"}
_THINKING = {"thinkingBudget": "thinking_budget", "includeThoughts": "include_thoughts"}
"""What goes into `extra_body`, where it takes what OpenAI has no name for."""


def compatible_url(base_url: str) -> str:
    """The address where it speaks OpenAI's wire; another than its own, of a gateway, stays as it is."""
    own = _OWN.fullmatch(base_url)
    return own[1] + _DOOR if own else base_url


def compatible_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by the names of that wire; what is set by both names has the value of the one of that wire."""
    named = {_NAMES[name]: value for name, value in params.items() if name in _NAMES}
    thinking = {_THINKING[name]: value for name, value in params.items() if name in _THINKING}
    if thinking:
        named["extra_body"] = {"google": {"thinking_config": thinking}}
    return named | {name: value for name, value in params.items() if name not in _NAMES and name not in _THINKING}
