"""The figures of pools for Prometheus, read whenever somebody scrapes.

Names are those of OpenTelemetry's semantic conventions for database client metrics, spelled
as Prometheus spells them, so that a dashboard made for other pools fits this one; what those
do not know begins with ``pgmonkey_pool``. Needs the extra ``prometheus``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from pgmonkey.connections.aio import AsyncPoolHandle
    from pgmonkey.connections.sync import PoolHandle

POOL = "db_client_connection_pool_name"
STATE = "db_client_connection_state"


class PoolCollector(Collector):
    """What ``stats()`` of some pools says, as metrics.

        REGISTRY.register(PoolCollector({"sales": pool}))

    Times are in seconds. A pool that was closed counts from nothing again, which
    Prometheus takes for a restart.

    Args:
        pools: Each by the name that its metrics shall have.
    """

    def __init__(self, pools: Mapping[str, PoolHandle | AsyncPoolHandle]) -> None:
        self._pools = dict(pools)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment; is called by the registry."""
        counts = GaugeMetricFamily(
            "db_client_connection_count", "Connections in each state.", labels=[POOL, STATE]
        )
        most = GaugeMetricFamily("db_client_connection_max", "The most it may open.", labels=[POOL])
        pending = GaugeMetricFamily(
            "db_client_connection_pending_requests", "Who waits for a connection.", labels=[POOL]
        )
        timeouts = CounterMetricFamily(
            "db_client_connection_timeouts", "Who waited in vain.", labels=[POOL]
        )
        waits = SummaryMetricFamily(
            "db_client_connection_wait_time_seconds", "Time to get a connection.", labels=[POOL]
        )
        creations = SummaryMetricFamily(
            "db_client_connection_create_time_seconds", "Time to make one.", labels=[POOL]
        )
        uses = CounterMetricFamily(
            "pgmonkey_pool_use_seconds", "Time for which connections were lent.", labels=[POOL]
        )
        failures = CounterMetricFamily(
            "pgmonkey_pool_connect_errors", "Attempts to connect that failed.", labels=[POOL]
        )
        discards = CounterMetricFamily(
            "pgmonkey_pool_discards", "Connections given up.", labels=[POOL, "cause"]
        )
        leaks = CounterMetricFamily(
            "pgmonkey_pool_leaks", "Connections held for longer than leak_after.", labels=[POOL]
        )
        for name, handle in self._pools.items():
            now = handle.stats()
            counts.add_metric([name, "idle"], now.idle)
            counts.add_metric([name, "used"], now.in_use)
            most.add_metric([name], now.max_size)
            pending.add_metric([name], now.waiting)
            timeouts.add_metric([name], now.timeouts)
            waits.add_metric([name], now.requests, now.wait_seconds)
            creations.add_metric([name], now.connects - now.connect_errors, now.connect_seconds)
            uses.add_metric([name], now.use_seconds)
            failures.add_metric([name], now.connect_errors)
            for cause, number in now.discards.items():
                discards.add_metric([name, cause], number)
            leaks.add_metric([name], now.leaks)
        families = (counts, most, pending, timeouts, waits, creations)
        return (*families, uses, failures, discards, leaks)
