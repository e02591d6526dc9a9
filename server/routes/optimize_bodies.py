"""What `POST /api/optimize` and `POST /api/prompts/{id}/optimize` take, and what they answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from server.ai.builtin_templates import IDS, Language, Mode, Target
from server.ai.calls import Message, Role
from server.routes.prompt_bodies import Note
from server.routes.prompt_views import VersionView
from server.routes.texts import Body, Known, PromptText
from server.routes.values import kept_alike
from server.routes.variables import MAX_VALUE, VariableName

MAX_TEXT = 50_000
"""Characters of a text that is improved, as clients bound it. Past it: 422."""
MAX_INSTRUCTION = 10_000
"""Characters of an instruction, likewise."""
MAX_TURNS = 100
"""Messages of a conversation that is given as evidence. Past it: 422."""
MAX_CONVERSATION = 200_000
"""Characters of all of them. Past it: 422."""
MAX_VARIABLES = 200
"""Values of variables. Past it: 422."""
MAX_PARAMS = 50
"""Parameters that are set over those of the configuration. Past it: 422."""

_NAME: TypeAdapter[str] = TypeAdapter(VariableName)


def _variables(value: object) -> object:
    # as a whole: pydantic would name the key that is wrong, which the client made up
    if not isinstance(value, dict) or len(value) > MAX_VARIABLES:
        raise PydanticCustomError("variables", "is no object of at most 200 variables")
    for name, text in value.items():
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise PydanticCustomError("variable_name", "has a name that no placeholder can have") from None
        if not isinstance(text, str) or len(text) > MAX_VALUE:
            raise PydanticCustomError("variable_value", "has a value that is no text of at most 10,000 characters")
    return kept_alike(value)


def _params(value: object) -> object:
    if not isinstance(value, dict) or len(value) > MAX_PARAMS or any(not 0 < len(str(name)) <= 100 for name in value):
        raise PydanticCustomError("params", "is no object of at most 50 parameters")
    return kept_alike(value)


class Turn(Body):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[PromptText, StringConstraints(max_length=MAX_TEXT)]


class Optimize(Body):
    """How a text is to be improved."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"mode": "optimize", "target": "system", "model_config_id": "my-ollama"},
                {"mode": "iterate", "model_config_id": "my-ollama", "instruction": "Answer as JSON", "stream": True},
            ]
        }
    )

    mode: Mode = Mode.OPTIMIZE
    target: Target = Field(Target.SYSTEM, description="what the prompt is used as; chooses the template where none is named")
    template_id: Known | None = Field(None, description=f"one of the library's own, or one of ours: {', '.join(IDS)}")
    model_config_id: Known | None = Field(
        None, description="one of your model configurations, or a shared one; without it the preference `default_model`"
    )
    instruction: Annotated[PromptText, StringConstraints(max_length=MAX_INSTRUCTION)] = Field(
        "", description="what is to be different; needed to iterate"
    )
    text: Annotated[PromptText, StringConstraints(max_length=MAX_TEXT)] | None = None
    variables: Annotated[dict[str, str], PlainValidator(_variables, json_schema_input_type=dict[str, str])] = Field(
        default_factory=dict, description="what the text's `{{variables}}` may be, as evidence; and the values of a template's own"
    )
    messages: list[Turn] = Field(default_factory=list, max_length=MAX_TURNS, description="a conversation that the prompt is used in")
    params: Annotated[dict[str, JsonValue], PlainValidator(_params, json_schema_input_type=dict[str, JsonValue])] = Field(
        default_factory=dict, description="set over the configuration's"
    )
    language: Language | None = Field(
        None, description="of our template; without it the preference `template_language`, `Accept-Language`, or the text's"
    )
    stream: bool = Field(False, strict=True, description="answer with server-sent events; so does `Accept: text/event-stream`")

    @model_validator(mode="after")
    def _check(self) -> "Optimize":
        if self.mode is Mode.ITERATE and not self.instruction.strip():
            raise PydanticCustomError("instruction_missing", "an `instruction` is needed to iterate")
        if sum(len(turn.content) for turn in self.messages) > MAX_CONVERSATION:
            raise PydanticCustomError("messages_length", "the `messages` have more than 200,000 characters")
        return self

    def conversation(self) -> Sequence[Message]:
        """The conversation."""
        return [Message(Role(turn.role), turn.content) for turn in self.messages]


class OptimizeText(Optimize):
    """A text that is to be improved and not stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "write a weekly report", "model_config_id": "my-ollama"}]})

    text: Annotated[PromptText, StringConstraints(max_length=MAX_TEXT)]


class OptimizePrompt(Optimize):
    """How a prompt is to be improved. Without `text` it is its original, or to iterate its current version."""

    base_version_id: Known | None = Field(
        None, description="the version that it goes out from, instead of the current one: its text, and the new version's parent"
    )
    note: Note | None = Field(None, description="what is said of the version; without it the instruction")


class TokensView(BaseModel):
    """Tokens as the provider counts them; null where it does not say."""

    input_tokens: int | None
    output_tokens: int | None


class OptimizedView(BaseModel):
    """What a model has made of a text."""

    text: str = Field(description="without the space and the one code fence around it")
    reasoning: str = Field(description="what the model thought, its first 65,536 characters")
    lost_variables: list[str] = Field(description="`{{variables}}` of the text that are not in the result")
    new_variables: list[str] = Field(description="those of the result that are neither in the text nor in the instruction")
    finish_reason: str = Field(description="the provider's word: `length` means that it was cut short")
    usage: TokensView
    milliseconds: int = Field(description="from the call to the end of the answer")
    model: str
    model_name: str | None = Field(description="what the configuration is called")
    template: str | None


class OptimizedPromptView(OptimizedView):
    """What a model has made of a prompt, and the version that it is now."""

    prompt_id: str
    version_id: str
    version: VersionView


ANSWERED: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
"""The other form of the answer, for the OpenAPI document."""
