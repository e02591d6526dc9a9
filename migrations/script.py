"""What a migration runs: the .sql file beside it."""

from pathlib import Path

from alembic import op


def run_sql(migration: str) -> None:
    """Run the .sql file that stands beside the migration file `migration`, in the migration's transaction.

    It goes as one simple query, so it may hold several statements and `$$` bodies; it takes no parameters.
    """
    script = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    driver = op.get_bind().connection.dbapi_connection
    if driver is None:
        raise RuntimeError("migrations run on a live connection; there is no offline mode")
    driver.run_async(lambda connection: connection.execute(script))
