"""The server's clock is told by what a library holds: a column of its own could only disagree with it."""

from migrations.script import run_sql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__)
