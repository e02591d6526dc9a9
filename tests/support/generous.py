"""Limits that do not matter: tests and benchmarks all come from one address, and often as one user."""

from typing import Any

GENEROUS: dict[str, Any] = {
    "login_attempts_a_minute": 100_000,
    "login_attempts_burst": 100_000,
    "login_free_failures": 100_000,
    "login_failures_an_account": 100_000,
    "registrations_an_hour": 1_000_000,
    "mails_a_mailbox": 100_000,
    "mails_an_address": 100_000,
    "refreshes_a_minute": 100_000,
    "refreshes_an_address": 1_000_000,
    "password_checks": 100_000,
    "social_attempts_a_minute": 100_000,
    "openings_a_minute": 1_000_000,
    "openings_a_user_a_second": 100_000,
    "sockets_a_user": 100_000,
    "sync_requests_a_minute": 100_000,
    "sync_bytes_a_minute": 1 << 40,
    "imports_a_minute": 100_000,
    "shared_reads_a_minute": 1_000_000,
    "shared_failures_an_address": 1_000_000,
    "model_calls_a_minute": 100_000,
    "model_validations_a_minute": 100_000,
}
