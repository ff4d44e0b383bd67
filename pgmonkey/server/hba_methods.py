"""Methods and options of pg_hba.conf: which go together, major by major.

Only what the server refuses is refused here (hba.c, parse_hba_line and
parse_hba_auth_opt); whether a method is built into a server is its own affair.
"""

from __future__ import annotations

from pgmonkey.server import hba

OAUTH_SINCE = 18

_METHODS = frozenset(hba.STRENGTH)
_MAPPED = frozenset({"ident", "peer", "gss", "sspi", "cert", "oauth"})


class BadLine(ValueError):
    """The server would not read this line."""


def checked(
    kind: str, method: str, words: list[str], version: int
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the method as the server runs it, and its options as pairs.

    Raises:
        BadLine: The server would refuse the line.
    """
    known = method in _METHODS and (method != "oauth" or version >= OAUTH_SINCE)
    if not known:
        raise BadLine(f"invalid authentication method {method!r}")
    if kind == hba.LOCAL and method == "ident":
        method = "peer"
    if method == "peer" and kind != hba.LOCAL:
        raise BadLine("peer authentication is only supported on local sockets")
    if method == "gss" and kind == hba.LOCAL:
        raise BadLine("gssapi authentication is not supported on local sockets")
    if method == "cert" and kind != hba.HOSTSSL:
        raise BadLine("cert authentication is only supported on hostssl connections")
    options: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise BadLine(f"authentication option not in name=value format: {word}")
        _check_option(kind, method, name, value, version)
        options.append((name, value))
    return method, tuple(options)


def _refuse(problem: str, when: bool) -> None:
    if when:
        raise BadLine(problem)


# By version: the switch of old was given up in 14.
_CLIENTCERT = {
    "verify-ca": range(12, 99),
    "verify-full": range(12, 99),
    "0": range(14),
    "1": range(14),
    "no-verify": range(12, 14),
}


def _check_option(kind: str, method: str, name: str, value: str, version: int) -> None:
    if name == "map":
        _refuse("authentication option 'map' is not valid here", method not in _MAPPED)
    elif name == "clientcert":
        _refuse("clientcert can only be configured for 'hostssl' rows", kind != hba.HOSTSSL)
        allowed = version in _CLIENTCERT.get(value, ())
        _refuse(f"invalid value for clientcert: {value!r}", not allowed)
        weaker = method == "cert" and value != "verify-full" and version >= 12
        _refuse("clientcert only accepts 'verify-full' when using 'cert' authentication", weaker)
    else:
        owner = _OPTIONS.get(name)
        _refuse(f"unrecognized authentication option name: {name!r}", owner is None)
        _refuse(
            f"authentication option {name!r} is not valid for method {method}",
            owner != "" and method not in (owner or "").split(),
        )


# Which methods an option belongs to; "" is any.
_OPTIONS = {
    "clientname": "",
    "pamservice": "pam",
    "pam_use_hostname": "pam",
    "include_realm": "gss sspi",
    "krb_realm": "gss sspi",
    "compat_realm": "sspi",
    "upn_username": "sspi",
    **dict.fromkeys(
        (
            "ldapurl",
            "ldaptls",
            "ldapscheme",
            "ldapserver",
            "ldapport",
            "ldapbinddn",
            "ldapbindpasswd",
            "ldapsearchattribute",
            "ldapsearchfilter",
            "ldapbasedn",
            "ldapprefix",
            "ldapsuffix",
        ),
        "ldap",
    ),
    **dict.fromkeys(
        ("radiusservers", "radiusports", "radiussecrets", "radiusidentifiers"), "radius"
    ),
    **dict.fromkeys(("issuer", "scope", "validator", "delegate_ident_mapping"), "oauth"),
}
