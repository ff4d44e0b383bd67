"""The client's key, tried as libpq would: may it be read, is it the certificate's, does it open.

Nothing of the key leaves this module but the reason why it is of no use. Who may own such a
file, and with which mode, is in ``pgmonkey.config.keyfile``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgmonkey.config import keyfile

if TYPE_CHECKING:
    from pgmonkey.server.client import Certificate, Client


def why_unusable(client: Client, password: str | None) -> tuple[str, bool]:
    """Return why libpq would not use the client's key, and whether by its owner or mode."""
    certificate = client.certificate
    if certificate is None or certificate.missing or certificate.problem:
        return "", False
    key = keyfile.look_at(certificate.key)
    if key is None:
        return f"sslkey {certificate.key} does not exist", False
    wrong = keyfile.objection(key, keyfile.this_process())
    if wrong is not None:
        return f"sslkey {certificate.key} {wrong.reason}", True
    return _pair_problem(certificate, password), False


def _pair_problem(certificate: Certificate, password: str | None) -> str:
    """Return why certificate and key do not go together, "" where they do."""
    import ssl

    try:
        # A password that is asked for on the terminal would stop the audit: never asked.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            certificate.cert, certificate.key, lambda: password or ""
        )
    except ssl.SSLError as error:
        if error.reason != "KEY_VALUES_MISMATCH" and _encrypted(certificate.key):
            lacks = "sslpassword does not open it" if password else "there is no sslpassword"
            return f"sslkey {certificate.key} is encrypted, and {lacks}"
        reason = (error.reason or "cannot be used").replace("_", " ").lower()
        return f"sslcert and sslkey cannot be used together: {reason}"
    except OSError as error:
        return f"sslkey {certificate.key}: {error.strerror}"
    return ""


def _encrypted(key: str) -> bool:
    """Return whether the key in this file, in PEM, needs a password."""
    try:
        return b"ENCRYPTED" in Path(key).read_bytes()
    except OSError:
        return False
