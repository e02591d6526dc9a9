"""Accounts, sessions, libraries and their sealed log of updates."""

from migrations.script import run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__)
