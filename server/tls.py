"""TLS in the server itself: a certificate and its key, looked at before they are used, and exchanged while the server runs.

Behind a proxy that ends TLS this is not needed: docs/tls.md.
"""

import ssl
import stat
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from server.config import Settings
from server.errors import ServerError
from server.times import utc_now

log = structlog.get_logger(__name__)

FOREIGN_BITS = stat.S_IRWXO | stat.S_IWGRP
"""What nobody else may do with the key file; its group may read it, as Debian's ssl-cert does."""


class TlsUnusable(ServerError):
    """The certificate and key cannot be served with; the text says why and what to do."""


class Certificate:
    """The certificate that connections are greeted with, and the context that holds it."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises TlsUnusable."""
        self._cert = cert
        self._key = key
        check(cert, key, now=utc_now())
        self.context = _context(cert, key)

    def reload(self) -> None:
        """Read the files again, for connections that come from now on; where they cannot be used, go on with what there was."""
        try:
            check(self._cert, self._key, now=utc_now())
            _context(self._cert, self._key)  # into a context of its own first: a half that fits no other would break this one
            self.context.load_cert_chain(self._cert, self._key)
        except (TlsUnusable, OSError, ssl.SSLError) as error:
            log.error("certificate_not_reloaded", reason=str(error))
        else:
            log.info("certificate_reloaded")


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate of these settings; None where TLS is not ours to end.

    Raises:
        TlsUnusable: it cannot be served with.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def check(cert: Path, key: Path, *, now: datetime) -> None:
    """Raise TlsUnusable, with a sentence for the operator, unless the files hold a certificate of today and its key."""
    chain = _read(cert, "certificate")
    secret = _read(key, "key")
    if key.stat().st_mode & FOREIGN_BITS:
        raise TlsUnusable(f"the TLS key {key} can be read or changed by others: chmod 600 it")
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise TlsUnusable(f"{cert} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None
    try:
        private = load_pem_private_key(secret, password=None)
    except TypeError:
        raise TlsUnusable(f"the TLS key {key} has a passphrase: store it without one, readable by this server alone") from None
    except ValueError:
        raise TlsUnusable(f"{key} has no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise TlsUnusable(f"the TLS key {key} is not that of the first certificate in {cert}: the server's own comes before the others")
    if now > leaf.not_valid_after_utc:
        raise TlsUnusable(f"the certificate {cert} expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it")
    if now < leaf.not_valid_before_utc:
        raise TlsUnusable(f"the certificate {cert} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on: is the clock right?")


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"the TLS {what} {path} cannot be read: {error.strerror}") from error


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:  # too weak a key or signature for the system's OpenSSL
        raise TlsUnusable(f"the system's OpenSSL does not take {cert} with {key}: {error.reason}") from error
    return context
