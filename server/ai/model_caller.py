"""What calls models: in this process or in another one, it is the same to whoever has models called."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from server.ai.calls import Call, Piece, Target
from server.ai.listed_models import ListedModel

CHECK_SECONDS = 30.0
"""What checking a configuration, and listing its models, may take over all: somebody waits."""


class ModelCaller(Protocol):
    """Asks providers. Knows nothing of users and their limits."""

    def stream(self, call: Call) -> AsyncGenerator[Piece, None]:
        """The pieces of a model's answer as they come, `Finished` the last. Close it (`aclosing`) where it is not read to its end:
        the connection to the provider ends at once then.

        Raises:
            ModelFailed: the call did not succeed. What has come until then is no whole answer.
        """

    async def check(self, target: Target) -> None:
        """Ask for the cheapest call: it succeeds where the provider takes the key and has the model and credit for it.

        Raises:
            ModelFailed: it does not.
        """

    async def list_models(self, target: Target) -> Sequence[ListedModel]:
        """The models that a provider says it has, by id.

        Raises:
            ModelFailed: it does not say.
        """

    async def close(self) -> None:
        """End all connections. Calls must have ended."""
