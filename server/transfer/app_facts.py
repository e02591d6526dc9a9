"""How Prompt Optimizer calls what a library holds: kinds of records, modes, providers, settings; and its bounds."""

from __future__ import annotations

from typing import NamedTuple

from crdt.library import Mode

RECORD_TYPES = frozenset(
    {
        "optimize", "userOptimize", "iterate", "test", "contextUserOptimize", "contextIterate", "imageOptimize", "contextImageOptimize",
        "imageIterate", "text2imageOptimize", "image2imageOptimize", "multiimageOptimize", "conversationMessageOptimize",
    }
)  # fmt: skip
"""Kinds of versions that are records of its history."""
MOST_RECORDS = 50
"""Records that it keeps over all. Past it the oldest go, a chain's first one too, and with that the whole chain: no more are exported."""
FAVORITE_BYTES = 512 << 10
"""The largest favourite that it takes."""
FAVORITES_BYTES = 8 << 20
"""The most that it takes of all favourites together."""
SETTING_CHARACTERS = 1_000
"""The longest value of a setting that it takes."""
TEMPLATE_LANGUAGES = frozenset({"zh", "en"})

SETTINGS = {
    "app:settings:ui:theme-id": "theme",
    "app:settings:ui:preferred-language": "language",
    "app:settings:ui:builtin-template-language": "template_language",
    "app:function-model:evaluation-model": None,
    "app:function-model:image-recognition-model": None,
    "app:selected-optimize-template": None,
    "app:selected-user-optimize-template": None,
    "app:selected-iterate-template": None,
}
"""The settings that it takes, and under which name a library has the same where it has no preference of this name."""


class AppMode(NamedTuple):
    """A mode, as favourites, assets and records have it."""

    function: str
    optimization: str | None
    image: str | None
    family: str
    sub_mode: str
    first: str
    """The type of a chain's first record."""
    further: str
    template: str
    """The built-in template that made it, where none is known: a record has to name one."""

    @property
    def key(self) -> str:
        return f"{self.family}-{self.sub_mode}"


MODES = {
    Mode.BASIC_SYSTEM: AppMode("basic", "system", None, "basic", "system", "optimize", "iterate", "general-optimize"),
    Mode.BASIC_USER: AppMode("basic", "user", None, "basic", "user", "userOptimize", "iterate", "user-prompt-basic"),
    Mode.PRO_MULTI: AppMode(
        "context", "system", None, "pro", "conversation", "conversationMessageOptimize", "contextIterate", "context-message-optimize"
    ),
    Mode.PRO_VARIABLE: AppMode(
        "context", "user", None, "pro", "variable", "contextUserOptimize", "contextIterate", "context-user-prompt-basic"
    ),
    Mode.IMAGE_TEXT2IMAGE: AppMode(
        "image", None, "text2image", "image", "text2image", "text2imageOptimize", "imageIterate", "image-general-optimize"
    ),
    Mode.IMAGE_IMAGE2IMAGE: AppMode(
        "image", None, "image2image", "image", "image2image", "image2imageOptimize", "imageIterate", "image2image-general-optimize"
    ),
    Mode.IMAGE_MULTIIMAGE: AppMode(
        "image", None, "multiimage", "image", "multiimage", "multiimageOptimize", "imageIterate", "multiimage-optimize"
    ),
}


class Provider(NamedTuple):
    """Whom models are asked at."""

    name: str
    base_url: str
    needs_key: bool = True


PROVIDERS = {
    "openai": Provider("OpenAI", "https://api.openai.com/v1"),
    "openai-compatible": Provider("Custom API (OpenAI Compatible)", "http://localhost:11434/v1", needs_key=False),
    "deepseek": Provider("DeepSeek", "https://api.deepseek.com"),
    "dashscope": Provider("DashScope", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "siliconflow": Provider("SiliconFlow", "https://api.siliconflow.cn/v1"),
    "zhipu": Provider("Zhipu", "https://open.bigmodel.cn/api/paas/v4"),
    "minimax": Provider("MiniMax", "https://api.minimax.io/v1"),
    "openrouter": Provider("OpenRouter", "https://openrouter.ai/api/v1"),
    "modelscope": Provider("ModelScope", "https://api-inference.modelscope.cn/v1"),
    "ollama": Provider("Ollama", "http://localhost:11434/v1", needs_key=False),
    "cloudflare": Provider("Cloudflare", "https://api.cloudflare.com/client/v4/accounts"),
    "anthropic": Provider("Anthropic", "https://api.anthropic.com"),
    "gemini": Provider("Gemini", "https://generativelanguage.googleapis.com"),
}
IMAGE_CAPABILITIES = frozenset({"text2image", "image2image", "multiImage"})
"""A model with one of these makes images, and is configured apart."""
