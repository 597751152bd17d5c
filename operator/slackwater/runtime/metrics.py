"""Prometheus metrics of Slackwater itself, `slackwater_*`, with closed label sets.

Gauges about objects are read from the world at each scrape, so a series goes with its object.
No label ever holds a title, a run id, a URL or the text of an error.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slackwater import __version__
from slackwater.core.ledger import Line, State
from slackwater.core.spec import Ref
from slackwater.core.status import Truth
from slackwater.ports import Key, Kind

if TYPE_CHECKING:
    from slackwater.runtime.records import WindowRecord
    from slackwater.runtime.world import World

_OBJECT: Final = ("namespace", "name")
_DELAYS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)


class Metrics:
    """Counters and histograms; and, once `expose` was called, gauges over the world."""

    def __init__(self) -> None:
        disable_created_metrics()  # `_created` series say nothing that Prometheus does not know
        self.registry = CollectorRegistry()
        self._occurrences = Counter(
            "slackwater_occurrences",
            "Occurrences that entered a state, by the reason they entered it for.",
            (*_OBJECT, "state", "reason"),
            registry=self.registry,
        )
        self._delay = Histogram(
            "slackwater_start_delay_seconds",
            "From the moment a window opened until Airflow had accepted the run.",
            buckets=_DELAYS,
            registry=self.registry,
        )
        self.looks = Histogram(
            "slackwater_reconcile_duration_seconds",
            "Time of one look at one object.",
            ("kind",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.failures = Counter(
            "slackwater_reconcile_errors",
            "Looks that failed and are tried again.",
            ("kind",),
            registry=self.registry,
        )
        self.requests = Histogram(
            "slackwater_dependency_request_duration_seconds",
            "Time of one round to a calendar, pool or Airflow.",
            ("kind", "result"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._labels: dict[Ref, set[tuple[str, str]]] = {}
        self._asked: Counts[Ref] = Counts()

    def entered(self, ref: Ref, line: Line, before: Line | None) -> None:
        """An occurrence entered a state."""
        labels = (line.state.value, line.reason.value)
        self._labels.setdefault(ref, set()).add(labels)
        self._occurrences.labels(ref.namespace, ref.name, *labels).inc()
        started = line.state is State.TRIGGERED and (
            before is not None and before.state is State.INTENDED
        )
        if started and line.trigger_time is not None and line.window is not None:
            delay = (line.trigger_time - line.window.start).total_seconds()
            self._delay.observe(max(0.0, delay))

    def asked(self, ref: Ref) -> None:
        """A request was made for a Calendar."""
        self._asked[ref] += 1

    def forget(self, key: Key) -> None:
        """An object is gone."""
        if key.kind is Kind.CALENDAR:
            self._asked.pop(key.ref, None)
        if key.kind is Kind.TRAINING_WINDOW:
            for labels in self._labels.pop(key.ref, ()):
                self._occurrences.remove(key.ref.namespace, key.ref.name, *labels)

    def expose(
        self, world: World, *, leading: Callable[[], bool], dropped: Callable[[], int]
    ) -> None:
        """Add the gauges that are read from the world."""
        self.registry.register(_Gauges(world, leading, dropped, self._asked))


class _Gauges(Collector):
    def __init__(
        self,
        world: World,
        leading: Callable[[], bool],
        dropped: Callable[[], int],
        asked: Mapping[Ref, int],
    ) -> None:
        self._world, self._leading, self._dropped = world, leading, dropped
        self._asked = asked

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("slackwater_build_info", "This build.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        yield GaugeMetricFamily(
            "slackwater_leader", "1 while this process may act.", value=float(self._leading())
        )
        yield CounterMetricFamily(
            "slackwater_events_dropped",
            "Kubernetes Events given up because too many were to be sent.",
            value=float(self._dropped()),
        )
        yield from self._windows()
        yield from self._calendars()
        yield from self._pools()
        yield from self._airflows()

    def _windows(self) -> Iterator[Metric]:
        condition = GaugeMetricFamily(
            "slackwater_status_condition",
            "1 for the value that a condition of a TrainingWindow has.",
            labels=(*_OBJECT, "type", "status"),
        )
        active = _gauge("slackwater_active_runs", "Runs that are meant to exist or exist.")
        waiting = _gauge("slackwater_waiting", "1 while an open window is held back.")
        opens = _gauge(
            "slackwater_next_open_timestamp_seconds", "When the present or next window opens."
        )
        closes = _gauge(
            "slackwater_next_close_timestamp_seconds", "When the present or next window closes."
        )
        took = GaugeMetricFamily(
            "slackwater_learned_duration_seconds",
            "What runs of a TrainingWindow's DAG took, where Airflow told of enough of them.",
            labels=(*_OBJECT, "quantile"),
        )
        for ref, record in self._world.windows.items():
            labels, status = (ref.namespace, ref.name), record.status
            for quantile, seconds in self._durations(record):
                took.add_metric((*labels, quantile), seconds)
            for check in status.conditions:
                for truth in Truth:
                    condition.add_metric(
                        (*labels, check.type, truth.value.lower()), float(check.status is truth)
                    )
            active.add_metric(labels, sum(line.state.is_active for line in status.lines))
            waiting.add_metric(labels, float(any(x.state is State.WAITING for x in status.lines)))
            if status.next_window_start is not None and status.next_window_end is not None:
                opens.add_metric(labels, status.next_window_start.timestamp())
                closes.add_metric(labels, status.next_window_end.timestamp())
        yield from (condition, active, waiting, opens, closes, took)

    def _durations(self, record: WindowRecord) -> Iterator[tuple[str, float]]:
        spec = record.spec
        follower = self._world.airflow(spec.dag.airflow) if spec is not None else None
        if spec is None or follower is None:
            return
        found = follower.durations(spec.dag.dag_id)
        if found is not None and found.median is not None and found.p90 is not None:
            yield "0.5", found.median.total_seconds()
            yield "0.9", found.p90.total_seconds()

    def _calendars(self) -> Iterator[Metric]:
        events = _gauge("slackwater_calendar_events", "Events known within the horizon.")
        synced = _gauge("slackwater_calendar_sync_timestamp_seconds", "Last successful reading.")
        age = _gauge("slackwater_calendar_age_seconds", "Since the last successful reading.")
        blocks = _gauge(
            "slackwater_calendar_blocks_timestamp_seconds", "When it is too old to start anything."
        )
        requests = _count("slackwater_calendar_requests", "Requests to the calendar's service.")
        throttled = _count(
            "slackwater_calendar_throttled",
            "Readings put off by a rate limit, the service's or the one that we keep ourselves.",
        )
        changes = _count("slackwater_calendar_changes", "Readings that found something changed.")
        for ref in self._world.calendars:
            follower = self._world.calendar(ref)
            if follower is None:
                continue
            labels = (ref.namespace, ref.name)
            requests.add_metric(labels, self._asked.get(ref, 0))
            throttled.add_metric(labels, follower.throttled)
            changes.add_metric(labels, follower.changes)
            if follower.snapshot is None or follower.checked_at is None:
                continue
            events.add_metric(labels, follower.snapshot.count)
            synced.add_metric(labels, follower.checked_at.timestamp())
            age.add_metric(labels, (self._world.clock.now() - follower.checked_at).total_seconds())
            if follower.blocks_at is not None:
                blocks.add_metric(labels, follower.blocks_at.timestamp())
        yield from (events, synced, age, blocks, requests, throttled, changes)

    def _pools(self) -> Iterator[Metric]:
        capacity = _gauge("slackwater_pool_capacity_gpus", "GPUs on all nodes of the pool.")
        free = _gauge("slackwater_pool_free_gpus", "GPUs free on usable nodes, before promises.")
        promised = _gauge("slackwater_pool_promised_gpus", "GPUs promised and not visible yet.")
        asked = _gauge("slackwater_pool_queue_gpus", "GPUs that waiting windows ask for.")
        load = _gauge("slackwater_pool_utilization_ratio", "Mean utilisation of the pool's GPUs.")
        foreground = _gauge(
            "slackwater_pool_foreground_gpus",
            "GPUs used or waited for by others than runs of ours.",
        )
        coverage = _gauge("slackwater_pool_coverage_ratio", "Share of the GPUs that report.")
        sampled = _gauge("slackwater_pool_sample_timestamp_seconds", "When the numbers were taken.")
        for ref in self._world.pools:
            follower = self._world.pool(ref)
            if follower is None:
                continue
            labels = (ref.namespace, ref.name)
            promised.add_metric(labels, sum(p.unseen for p in follower.promises))
            asked.add_metric(labels, sum(ask.count for ask in follower.asks))
            sample = follower.sample
            if sample is None or follower.fault is not None:
                continue  # no numbers are better than old ones
            capacity.add_metric(labels, sample.capacity)
            free.add_metric(labels, sample.fit(1))
            foreground.add_metric(labels, follower.foreground or 0)
            sampled.add_metric(labels, sample.time.timestamp())
            if sample.utilization is not None:
                load.add_metric(labels, sample.utilization)
            if sample.coverage is not None:
                coverage.add_metric(labels, sample.coverage)
        yield from (capacity, free, promised, asked, foreground, load, coverage, sampled)

    def _airflows(self) -> Iterator[Metric]:
        up = _gauge("slackwater_airflow_up", "1 while the Airflow server answers.")
        for ref in self._world.airflows:
            follower = self._world.airflow(ref)
            if follower is not None:
                healthy = follower.fault is None and follower.version is not None
                up.add_metric((ref.namespace, ref.name), float(healthy))
        yield up


def _count(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=_OBJECT)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=_OBJECT)
