"""Calling a model for a user: the one way to do it, within the user's limits, and every call written down however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from auth.sessions import Principal
from auth.vault import Vault
from crdt.shown import ModelConfig
from server import metrics
from server.ai.allowance import Allowance
from server.ai.calls import Call, Piece, Purpose, Target
from server.ai.failures import ModelFailed, Outcome
from server.ai.key_uses import KeyUses
from server.ai.ledger import Ledger
from server.ai.listed_models import ListedModel, ListedModels
from server.ai.meter import Meter
from server.ai.model_caller import ModelCaller
from server.ai.shared_models import SharedModels
from server.ai.targets import Targets
from server.config import Settings
from server.limits import Limits
from storage.pool import Database

if TYPE_CHECKING:
    from server.editor import Editor  # which is given the services, and so this


class Models:
    """The models that users may call."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        vault: Vault,
        limits: Limits,
        shared: SharedModels,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        make_caller: Callable[[Settings], ModelCaller],
    ) -> None:
        self._clock = clock
        self._random = random
        self._caller = make_caller(settings)
        self._listed = ListedModels(time.monotonic)
        self.shared = shared
        self.ledger = Ledger(database)
        self._uses = KeyUses(vault, clock)
        self.targets = Targets(settings, database, vault, shared)
        self._allowance = Allowance(settings, limits, database, self.ledger, clock)

    async def close(self) -> None:
        """Store the rows that wait, and close the connections to providers. Calls must have ended."""
        await asyncio.gather(self.ledger.close(), self._uses.close(), self._caller.close())

    async def target(
        self,
        principal: Principal,
        config_id: str,
        editor: Editor,
        *,
        params: Mapping[str, Any] | None = None,
        config: ModelConfig | None = None,
    ) -> Target:
        """The model that an id means, ready for one call, which is counted.

        `shared:<id>` is one of the operator's models, anything else a configuration of the asking user, in the user's own library,
        whatever library the request is about; whoever has read it gives it as `config`. `params` are set over those of the configuration.

        Raises:
            TooManyAttempts: the user has asked for too many calls lately.
            NotFound, Missing: nothing has this id.
            ModelDisabled, ModelIncomplete: the configuration cannot be called as it stands.
            ModelFailed: REFUSED_ADDRESS: its address is none that this server asks.
            ModelKeyMissing, ModelKeyElsewhere, ModelKeyUnreadable: as `Vault.open`.
            as `Editor.read`.
        """
        counting, naming = self._allowance.count(principal.user.id), self.targets.named(principal, config_id, editor, params, config)
        # both are waited for, whichever fails: what goes on alone would be nobody's
        counted, target = await asyncio.gather(counting, naming, return_exceptions=True)
        if isinstance(counted, BaseException):
            raise counted
        if isinstance(target, BaseException):
            raise target
        return target

    async def stream(self, call: Call, user_id: UUID) -> AsyncGenerator[Piece, None]:
        """The pieces of a model's answer as they come, `Finished` the last. Close it (`aclosing`) where it is not read to its end.

        The target is from `target`, where the call was counted.

        Raises, before the first piece, TooManyAttempts for a limit that is reached (nothing is called then, and nothing written down) and
        Unavailable where the database cannot be asked; and at any time:
            ModelFailed: the call did not succeed.
        """
        async with self._allowance.call(user_id, shared=call.target.is_shared):
            self._uses.note(user_id, call.target)
            with self._metered(call, user_id) as meter:
                async with aclosing(self._caller.stream(call)) as pieces:
                    async for piece in pieces:
                        meter.add(piece)
                        yield piece

    async def check(self, target: Target, user_id: UUID) -> None:
        """Ask for the cheapest call of a model, which is counted. Raises ModelFailed where it does not succeed, and as `target`."""
        call = Call(target=target, messages=(), purpose=Purpose.VALIDATE)
        await self._allowance.count(user_id)
        async with self._allowance.call(user_id, shared=target.is_shared):
            with self._metered(call, user_id) as meter:
                await self._caller.check(target)
                meter.end(Outcome.OK)

    async def listed(self, principal: Principal, config_id: str, editor: Editor) -> Sequence[ListedModel]:
        """The models that the provider of one of the user's configurations says it has.

        It may be switched off, and name no model yet. Asking counts as a call to the limits; what was asked for lately does not.

        Raises as `target`, and ModelFailed.
        """
        target = await self.targets.lister(principal, config_id, editor)
        if (known := self._listed.kept(target)) is not None:
            return known
        await self._allowance.count(principal.user.id)
        async with self._allowance.call(principal.user.id, shared=False):
            self._uses.note(principal.user.id, target)
            return await self._listed.get(target, self._caller.list_models)

    @contextmanager
    def _metered(self, call: Call, user_id: UUID) -> Iterator[Meter]:
        """Write down what the block does as one call, however it ends."""
        meter = Meter(call, at=self._clock(), ticks=time.monotonic)
        try:
            yield meter
        except ModelFailed as error:
            meter.end(error.outcome)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            meter.end(Outcome.CANCELLED)
            raise
        finally:
            row = meter.row(UUID(bytes=self._random(16), version=4), user_id, self.shared.prices)
            self.ledger.note(row)
            metrics.model_calls.labels(row.provider, row.outcome).inc()
            metrics.model_seconds.labels(row.provider).observe(row.milliseconds / 1000)
