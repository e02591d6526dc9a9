"""One process that serves: opened, run until it is asked to stop, and closed in order. A server is one of them, or several."""

import asyncio
import socket
from collections.abc import Callable

import structlog

from server import drain, heap
from server.app import Application
from server.config import Settings
from server.database import Beside, claim_database
from server.keys import open_key_file
from server.services import make_services
from server.siblings import Siblings
from server.stopping import FLUSH_SECONDS, FLUSHED_BY_SECONDS, Stop, on_hangup
from server.tls import certificate_of
from server.transport import Transport
from storage.pool import Database

log = structlog.get_logger(__name__)


async def serve_until_stopped(
    settings: Settings,
    dsn: str,
    listener: socket.socket,
    stop: Stop,
    *,
    ready: Callable[[], None],
    beside: tuple[Beside, ...] = (),
    siblings: Siblings | None = None,
) -> None:
    """Serve what comes to `listener`, or from `siblings`, until `stop` is asked; `ready` is called once that has begun.

    SIGHUP has it read the certificate again.

    Raises:
        TlsUnusable: the certificate or its key cannot be served with.
        StorageError: the database, or the key file, does not allow it; the text says why and what to do.
    """
    certificate = certificate_of(settings)
    database = await Database.open(dsn, size=settings.database_pool)
    try:
        key_file, _ = await open_key_file(settings, database)
        keyring = key_file.live_keyring()
        await claim_database(database, keyring)
        signing_keys = [(key.id, key.seed) for key in key_file.signing]
        services = make_services(settings, database=database, keyring=keyring, signing_keys=signing_keys)
        try:
            transport = Transport(settings, app := Application(services), siblings, certificate)
            on_hangup(certificate.reload if certificate is not None else lambda: None)
            await _run(settings, app, transport, listener, stop, ready, beside, siblings)
        finally:
            await services.models.close()
            services.passwords.close()
            await services.limits.close()
    finally:
        await database.close()


async def _run(
    settings: Settings,
    app: Application,
    transport: Transport,
    listener: socket.socket,
    stop: Stop,
    ready: Callable[[], None],
    beside: tuple[Beside, ...],
    siblings: Siblings | None,
) -> None:
    heap.settle()
    stop.on_signals(asyncio.get_running_loop())
    stop.when_asked_again(lambda: _hurry(transport))
    async with app.running(), asyncio.TaskGroup() as group:
        works = [group.create_task(_await(work)) for work in beside]
        serving = group.create_task(transport.serve(sockets=[listener]))
        works.append(group.create_task(_stop_in_order(settings, stop, app, transport, siblings)))
        await transport.listening.wait()
        if siblings is not None:
            works.append(group.create_task(siblings.run(transport.taken_over)))
        if not serving.done():
            ready()
        await serving
        for work in works:
            work.cancel()


async def _await(work: Beside) -> None:
    await work()


async def _stop_in_order(settings: Settings, stop: Stop, app: Application, transport: Transport, siblings: Siblings | None) -> None:
    """Once asked: send the devices away, store and acknowledge what they sent, then close the connections."""
    await stop.wait()
    if siblings is not None:
        siblings.leave()
    log.info("stopping")
    await drain.drain(app.hall, settings.drain_seconds)
    await app.optimizer.stop()  # what they store is flushed next
    await app.writer.drain(min(FLUSH_SECONDS, stop.left(FLUSHED_BY_SECONDS)))
    transport.should_exit = True


def _hurry(transport: Transport) -> None:
    transport.should_exit = True
    transport.force_exit = True  # asked twice: do not wait for devices and connections
