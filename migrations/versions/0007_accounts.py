"""Accounts: identities of other providers, mail tokens, roles, the audit log and counters of limits."""

from migrations.script import run_sql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__)
