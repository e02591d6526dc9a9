"""Alembic's entry: runs the migrations on the connection it is given (`promptsync migrate`, or an embedded database's start)."""

from alembic import context

# Every process that migrates takes this lock first, so the later ones find the work done. Any constant of ours will do.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7203948572)"
# A migration that cannot get a table while the running version uses it gives up, instead of making every query wait behind it.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"


def run() -> None:
    """Bring the database to the revision that was asked for, all in one transaction."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise SystemExit("migrate with: promptsync migrate")
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.exec_driver_sql(_ONE_AT_A_TIME)
        connection.exec_driver_sql(_LOCK_TIMEOUT)
        context.run_migrations()


run()
