"""The ADDRESS column: where this client comes from, as far as anybody can say.

pg_hba.conf holds the *client's* address, and a configuration only has the server's. So it
is given, or was seen by a server, or is assumed: a client beside its server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from pgmonkey.server.client import Endpoint
from pgmonkey.server.hba import Rule
from pgmonkey.server.matching import IPAddress

IPNetwork: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
Origin = Literal["given", "observed", "assumed", "socket"]

LOOPBACK = ("127.0.0.1/32", "::1/128")


def networks(
    endpoints: Sequence[Endpoint],
    given: Sequence[IPNetwork],
    observed: IPNetwork | None,
    notes: list[str],
) -> tuple[tuple[str, ...], Origin]:
    """Return the addresses for a client of these servers, and how they are known.

    What was assumed is added to *notes*.
    """
    if given:
        return tuple(dict.fromkeys(map(str, given))), "given"
    if observed is not None:
        notes.append(f"the server sees this client at {observed}; another machine has another one")
        return (str(observed),), "observed"
    found = [address for endpoint in endpoints for address in assumed(endpoint)]
    unique = tuple(dict.fromkeys(found))
    if not set(unique) <= set(LOOPBACK):
        what = ", ".join(unique)
        notes.append(
            f"ADDRESS is the client's network, and {what} is an assumption: a client in the "
            "server's own network; --client-address CIDR says it"
        )
    return unique, "assumed"


def standing_for(network: IPNetwork, rules: Iterable[Rule]) -> tuple[IPAddress, ...]:
    """Return addresses of *network*, its first host in front, for all that are in it.

    Every other one meets the same of *rules* as one of these, since lines with a network
    part the addresses at both of its ends. A mask that is no prefix is not looked at.
    """
    hosts = 1 if network.num_addresses > 2 else 0
    first, last = int(network[hosts]), int(network[-1 - hosts])
    found = {first, last}
    for rule in rules:
        try:
            part = ipaddress.ip_network(rule.address, strict=False)
        except ValueError:
            continue
        if part.version == network.version and part.overlaps(network):
            low, high = int(part[0]), int(part[-1])
            found |= {low - 1, low, high, high + 1}
    kind = type(network.network_address)
    return tuple(kind(number) for number in sorted(found) if first <= number <= last)


def assumed(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the networks of a client that is where its server is."""
    if endpoint.dial == "localhost":
        return LOOPBACK
    try:
        # A zone such as %eth0 is this machine's own name for an interface.
        address = ipaddress.ip_address(endpoint.dial.partition("%")[0])
    except ValueError:
        # The server's name would match only clients of that name.
        return ("samenet",)
    if address.is_loopback:
        return (LOOPBACK[address.version == 6],)
    length = 24 if address.version == 4 else 64
    return (str(ipaddress.ip_network((address, length), strict=False)),)
