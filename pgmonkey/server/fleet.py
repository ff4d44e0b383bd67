"""How many connections a configuration may hold at once, when many programs share it.

Whole numbers only: a connection is there or not, and a limit that floating point rounded
down refuses the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pgmonkey.server.client import Client

# PostgreSQL's own default of superuser_reserved_connections.
RESERVED = 3
# An audit, or an administrator with an ordinary role.
VISITOR = 1
# What is printed for a single connection: the least that is worth a line.
SINGLE = 20


@dataclass(frozen=True)
class Fleet:
    """How many programs use the configuration at the same time.

    Attributes:
        processes: On each replica, each with a pool of its own (gunicorn's workers).
        replicas: Machines, containers, pods.
        surge: The share of replicas that a roll-out adds while the old ones still run.
        extra: Connections of others to the same server: migrations, cron, people.
    """

    processes: int = 1
    replicas: int = 1
    surge: Fraction = Fraction(0)
    extra: int = 0

    @property
    def single(self) -> bool:
        """Whether it is one program and nothing else."""
        return self == Fleet()

    def __str__(self) -> str:
        text = f"{self.processes} x {self.replicas} programs"
        if self.surge:
            text += f" (and {self.surge} more in a roll-out)"
        return f"{text} and {self.extra} others" if self.extra else text


def demand(client: Client, fleet: Fleet) -> int:
    """Return the connections the whole fleet may hold at once, at least 1."""
    programs = Fraction(fleet.processes * fleet.replicas * client.max_size) * (1 + fleet.surge)
    return -(-programs.numerator // programs.denominator) + fleet.extra


def accurate_need(connections: int) -> int:
    """Return the max_connections at which *connections* and one visitor have room."""
    return connections + RESERVED + VISITOR


def printed_minimum(client: Client, fleet: Fleet) -> int:
    """Return the max_connections that is printed: a tenth more than the pool, rounded up.

    A single connection counts as the pools that the configuration sizes beside it, since
    any type can be asked for at run time. A fleet needs what it needs.
    """
    pooled = client.connection_type in ("pool", "async_pool")
    largest = client.max_size if pooled else client.largest_pool
    minimum = (largest * 11 + 9) // 10
    if not pooled:
        minimum = max(SINGLE, minimum)
    return minimum if fleet.single else max(minimum, accurate_need(demand(client, fleet)))
