"""The catalogue: which providers of models there are, where each is asked, how it is spoken to, and what may be set."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from server.ai.parameters import CHAT, DASHSCOPE, DEEPSEEK, GEMINI, MESSAGES, OPENAI, Parameter

CHAT_COMPLETIONS = "chat_completions"
RESPONSES = "responses"


class Spoken(StrEnum):
    """What a provider's wire is called."""

    OPENAI = "openai"
    """Chat completions, and responses where the provider has them."""
    ANTHROPIC = "anthropic"
    """Messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of models."""

    id: str
    name: str
    base_url: str
    """Where it is asked if a configuration says nothing else; empty: a configuration has to say."""
    spoken: Spoken = Spoken.OPENAI
    needs_key: bool = True
    request_styles: tuple[str, ...] = (CHAT_COMPLETIONS,)
    """How it may be asked; the first one where a configuration says nothing."""
    parameters: tuple[Parameter, ...] = CHAT
    models: tuple[str, ...] = ()
    """A few ids that are well known; what it really has is in its live list."""
    hint: str = ""
    """What has to be known to fill in a configuration."""
    list_is_public: bool = False
    """Its list of models is given to everybody: that it comes says nothing about the key."""
    limit: str = "max_tokens"
    """What the most tokens of an answer are called."""


CATALOGUE = (
    Provider(
        id="openai",
        name="OpenAI",
        base_url="https://api.openai.com/v1",
        request_styles=(CHAT_COMPLETIONS, RESPONSES),
        parameters=OPENAI,
        models=("gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4o-mini"),
        limit="max_completion_tokens",
    ),
    Provider(
        id="anthropic",
        name="Anthropic",
        base_url="https://api.anthropic.com",
        spoken=Spoken.ANTHROPIC,
        request_styles=("messages",),
        parameters=MESSAGES,
        models=("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"),
    ),
    Provider(
        id="gemini",
        name="Google Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        parameters=GEMINI,
        models=("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
        hint="asked by its OpenAI-compatible address",
    ),
    Provider(
        id="deepseek",
        name="DeepSeek",
        base_url="https://api.deepseek.com",
        parameters=DEEPSEEK,
        models=("deepseek-chat", "deepseek-reasoner"),
    ),
    Provider(
        id="dashscope",
        name="DashScope (阿里云百炼)",
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        request_styles=(CHAT_COMPLETIONS, RESPONSES),
        parameters=DASHSCOPE,
        models=("qwen-max", "qwen-plus", "qwen-turbo", "qwen3-max"),
        hint="outside of China: https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ),
    Provider(
        id="siliconflow",
        name="SiliconFlow (硅基流动)",
        base_url="https://api.siliconflow.cn/v1",
        models=("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-8B"),
    ),
    Provider(
        id="zhipu",
        name="Zhipu (智谱)",
        base_url="https://open.bigmodel.cn/api/paas/v4",
        models=("glm-4.6", "glm-4.5-air", "glm-4-flash"),
    ),
    Provider(
        id="minimax",
        name="MiniMax",
        base_url="https://api.minimax.io/v1",
        models=("MiniMax-M2", "MiniMax-M1"),
        hint="in China: https://api.minimaxi.com/v1",
    ),
    Provider(
        id="openrouter",
        name="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        models=("openai/gpt-5-mini", "anthropic/claude-sonnet-4.5", "deepseek/deepseek-chat"),
        list_is_public=True,
    ),
    Provider(
        id="modelscope",
        name="ModelScope (魔搭)",
        base_url="https://api-inference.modelscope.cn/v1",
        models=("Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3.1"),
        list_is_public=True,
    ),
    Provider(
        id="ollama",
        name="Ollama",
        base_url="http://localhost:11434/v1",
        needs_key=False,
        models=("qwen3:8b", "llama3.2", "gemma3"),
        hint="asked only where the operator lists its address in PROMPTSYNC_MODEL_HOSTS",
    ),
    Provider(
        id="cloudflare",
        name="Cloudflare Workers AI",
        base_url="",
        models=("@cf/meta/llama-3.1-8b-instruct", "@cf/qwen/qwen3-30b-a3b-fp8"),
        hint="https://api.cloudflare.com/client/v4/accounts/{your account's id}/ai/v1",
    ),
    Provider(
        id="custom",
        name="Custom (OpenAI-compatible)",
        base_url="",
        needs_key=False,
        request_styles=(CHAT_COMPLETIONS, RESPONSES),
        hint="any address that speaks as OpenAI does; the key is optional",
    ),
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {provider.id: provider for provider in CATALOGUE} | {"openai-compatible": CATALOGUE[-1]}
)
"""By id. `openai-compatible` is what apps call `custom`."""
