"""Asking addresses that users have named: only those that may be asked, connected to where they were checked."""
