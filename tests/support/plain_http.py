"""A client of plain HTTP, as most tests need one: it does not read the certificates of authorities, which takes 30 ms a client."""

import ssl
from typing import Any

import httpx2

_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**options: Any) -> httpx2.AsyncClient:
    """A client, with the options of httpx2's, that uses no proxy."""
    return httpx2.AsyncClient(verify=_TRUSTS_NOBODY, trust_env=False, **options)
