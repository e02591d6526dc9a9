"""Keys and models: what models are called with, and what was called."""

from migrations.script import run_sql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__)
