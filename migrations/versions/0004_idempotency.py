"""Idempotency keys: requests that create something, done once however often they are sent."""

from migrations.script import run_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__)
