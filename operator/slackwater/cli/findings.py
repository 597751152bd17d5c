"""What `slackwater check` asks, all at once, and what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from slackwater.cli.laid_out import ask, read_calendar, warning
from slackwater.cli.opened import Opened
from slackwater.cli.reading import Screen, counted, paragraph
from slackwater.core.allot import Pool, unusable
from slackwater.core.early import early_conf_gate
from slackwater.core.event import Snapshot
from slackwater.core.gaps import sample_gaps
from slackwater.core.identity import run_prefix
from slackwater.core.occurrence import lay_out
from slackwater.core.report import sentence
from slackwater.core.run import DagFacts
from slackwater.core.sample import Sample
from slackwater.core.seen import PoolView, Seen, Trouble
from slackwater.core.spec import GpuAsk, PoolRules, Ref, StopPolicy, TrainingWindow
from slackwater.core.start import early_capacity
from slackwater.core.words import WORDS, Reason, say
from slackwater.ports import Airflow, Kind, PoolSource
from slackwater.runtime.calendar_follower import horizon_at
from slackwater.runtime.records import WindowRecord

_UTC: Final = "UTC"
_CONFS: Final = 500  # windows of one TrainingWindow whose conf is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was asked about.

    Attributes:
        about: what it is, such as `Calendar research/team`.
        sentence: what was found; of what is in order a fact, else the reason's sentence.
        trouble: what is wrong; None where it is in order.
        notes: what is worth knowing though it is in order.
    """

    about: str
    sentence: str = ""
    trouble: Reason | None = None
    notes: tuple[Reason, ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        """It is in order."""
        return self.trouble is None

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return WORDS[self.trouble].remedy if self.trouble is not None else ""


def _bad(about: str, trouble: Trouble) -> Finding:
    text = sentence(trouble.reason, trouble.gaps, _UTC)
    return Finding(about=about, sentence=text, trouble=trouble.reason)


class Findings:
    """Asks everything that is referred to, each once and all at once.

    Args:
        found: the objects.
        progress: told what is being asked.
    """

    def __init__(self, found: Opened, progress: Callable[[str], None]) -> None:
        self._found, self._progress = found, progress
        self._world = found.world
        self._samples: dict[Ref, Sample] = {}
        self._seen: dict[Ref, Seen | None] = {}
        self._snapshots: dict[Ref, Snapshot] = {}
        self._facts: dict[tuple[Ref, str], DagFacts] = {}

    async def gather(self) -> tuple[Finding, ...]:
        """All findings: Calendars, pools, Airflows with their DAGs, then each TrainingWindow."""
        records = self._found.windows()
        for record in records:
            self._seen[record.stored.key.ref] = await self._found.seen(record)
        world = self._world
        asked = await asyncio.gather(
            *(self._calendar(ref) for ref in sorted(world.calendars)),
            *(self._pool(ref) for ref in sorted(world.pools)),
            *(self._airflow(ref) for ref in sorted(world.airflows)),
        )
        findings = [finding for group in asked for finding in group]
        for record in records:
            findings += self._window(record)
        return tuple(findings)

    # --- calendars

    async def _calendar(self, ref: Ref) -> tuple[Finding, ...]:
        about = f"{Kind.CALENDAR} {ref}"
        follower = self._world.calendar(ref)
        if follower is not None and follower.trouble is not None:
            return (_bad(about, follower.trouble),)
        self._progress(about)
        read = await read_calendar(self._found, ref, horizon_at(self._found.clock.now()))
        if isinstance(read, Trouble):
            return (_bad(about, read),)
        self._snapshots[ref] = read
        return (_calendar_read(about, ref, read),)

    # --- pools

    async def _pool(self, ref: Ref) -> tuple[Finding, ...]:
        about = f"{Kind.GPU_POOL} {ref}"
        follower = self._world.pool(ref)
        if follower is None or follower.source is None:
            trouble = follower.trouble if follower else None
            return (_bad(about, trouble or Trouble(Reason.POOL_NOT_FOUND, {"ref": ref})),)
        self._progress(about)
        source: PoolSource = follower.source
        sample = await ask(source.sample, about)
        if isinstance(sample, Trouble):
            return (_bad(about, sample),)
        self._samples[ref] = sample
        return (self._pool_sampled(about, follower.rules, sample),)

    def _pool_sampled(self, about: str, rules: PoolRules, sample: Sample) -> Finding:
        reason = unusable(Pool(rules=rules, sample=sample), self._found.clock.now())
        if reason is not None:
            gaps = sample_gaps(PoolView(ref=rules.ref, sample=sample))
            return _bad(about, Trouble(reason, {"pool": rules.ref, "what": about} | gaps))
        text = f"{sample.fit(1)} of {counted(sample.capacity, 'GPU')} free."
        if rules.metered and sample.visible is None:
            text += " No pod tells which run it belongs to: promises are paid as requests rise."
        return _held(Finding(about=about, sentence=text), rules.stop_policy)

    # --- Airflow

    async def _airflow(self, ref: Ref) -> tuple[Finding, ...]:
        about = f"{Kind.AIRFLOW_INSTANCE} {ref}"
        follower, held = self._world.airflow(ref), self._world.airflows[ref]
        if follower is None or follower.airflow is None or held.spec is None:
            trouble = follower.trouble if follower else None
            return (_bad(about, trouble or Trouble(Reason.AIRFLOW_NOT_FOUND, {"ref": ref})),)
        self._progress(about)
        airflow: Airflow = follower.airflow
        version = await ask(airflow.version, f"Airflow {ref}")
        if isinstance(version, Trouble):
            return (_bad(about, version),)
        # The version is told to everybody; this one needs credentials and the right to see runs.
        runs = await ask(lambda: airflow.active_runs(run_prefix("check")), f"Airflow {ref}")
        if isinstance(runs, Trouble):
            return (_bad(about, runs),)
        server = Finding(about=about, sentence=f"Airflow {version}.")
        dags = await asyncio.gather(*(self._dag(airflow, ref, dag) for dag in self._dags(ref)))
        return (_held(server, held.spec.stop_policy), *dags)

    def _dags(self, ref: Ref) -> list[str]:
        """DAGs that TrainingWindows run there and may run."""
        return sorted(
            {
                record.spec.dag.dag_id
                for window, record in self._world.windows.items()
                if record.spec is not None
                and record.spec.dag.airflow == ref
                and (seen := self._seen.get(window)) is not None
                and seen.airflow.refused is None
            }
        )

    async def _dag(self, airflow: Airflow, ref: Ref, dag_id: str) -> Finding:
        about = f"DAG {dag_id} in {Kind.AIRFLOW_INSTANCE} {ref}"
        self._progress(about)
        what = f"Airflow {ref}"
        facts = await ask(lambda: airflow.preflight(dag_id), what)
        if isinstance(facts, Trouble):
            return _bad(about, facts)
        self._facts[ref, dag_id] = facts
        return _dag_found(about, dag_id, what, facts)

    # --- TrainingWindows

    def _window(self, record: WindowRecord) -> Iterator[Finding]:
        """Whether it may use what it names, and whether that can ever be enough."""
        name = f"{Kind.TRAINING_WINDOW} {record.stored.key.ref}"
        spec, seen = record.spec, self._seen[record.stored.key.ref]
        if record.config is not None:
            yield _bad(name, record.config)
        if spec is None or seen is None:
            return
        if seen.config is not None and record.config is None:
            yield _bad(name, seen.config)
        for ref, view in seen.calendars.items():
            yield _grant(name, f"{Kind.CALENDAR} {ref}", view.refused)
        if spec.gpu is not None and seen.pool is not None:
            yield self._gpus(name, spec.gpu, seen.pool)
        about = f"DAG {spec.dag.dag_id} in {Kind.AIRFLOW_INSTANCE} {spec.dag.airflow}"
        yield _grant(name, about, seen.airflow.refused)
        yield from self._conf(name, record, spec, seen)

    def _conf(
        self, name: str, record: WindowRecord, spec: TrainingWindow, seen: Seen
    ) -> Iterator[Finding]:
        """Whether the DAG's params would take the conf of every window that lies ahead."""
        facts = self._facts.get((spec.dag.airflow, spec.dag.dag_id))
        calendars = {entry.calendar for entry in spec.calendars}
        if facts is None or not calendars <= self._snapshots.keys():
            return
        if not (spec.dag.templated or facts.params_schema):
            return
        now = self._found.clock.now()
        events = {ref: self._snapshots[ref].events for ref in calendars}
        layout = lay_out(spec, events, horizon_at(now))
        coming = [found for found in layout.occurrences if found.interval.end > now]
        seen = replace(seen, airflow=replace(seen.airflow, facts=facts))
        identity = self._world.identity(record)
        about = f"{name} has a conf that DAG {spec.dag.dag_id} takes"
        gate = early_conf_gate(identity, spec, seen, coming, most=_CONFS)
        if gate is not None:
            yield _bad(about, Trouble(gate.reason, gate.gaps))
        elif coming:
            tried = counted(min(len(coming), _CONFS), "window")
            yield Finding(about=about, sentence=f"Tried for {tried} ahead.")

    def _gpus(self, name: str, gpu: GpuAsk, pool: PoolView) -> Finding:
        about, limit = f"{Kind.GPU_POOL} {pool.ref}", pool.grant.max_gpus
        refused = pool.refused
        if refused is None and limit is not None and gpu.count > limit:
            gaps = {"count": gpu.count, "ref": pool.ref, "limit": limit}
            refused = Trouble(Reason.EXCEEDS_GRANT, gaps)
        sample = self._samples.get(pool.ref)
        if refused is None and sample is not None:
            gate = early_capacity(gpu, PoolView(ref=pool.ref, sample=sample))
            refused = Trouble(gate.reason, gate.gaps) if gate is not None else None
        return _grant(name, f"{counted(gpu.count, 'GPU')} of {about}", refused)


def _grant(name: str, about: str, refused: Trouble | None) -> Finding:
    about = f"{name} may use {about}"
    return Finding(about=about) if refused is None else _bad(about, refused)


def _calendar_read(about: str, ref: Ref, read: Snapshot) -> Finding:
    text = f"{counted(read.count, 'event')}."
    said = [warning(ref, warned) for warned in read.warnings]
    return Finding(
        about=about,
        sentence=text,
        notes=tuple(warned.reason for warned in read.warnings),
        note=" ".join(said),
    )


def _dag_found(about: str, dag_id: str, what: str, facts: DagFacts) -> Finding:
    if facts.problem is not None:
        gaps = {"dag": dag_id, "what": what, "detail": facts.detail}
        return _bad(about, Trouble(facts.problem, gaps))
    own = (Reason.DAG_HAS_SCHEDULE,) if facts.own_schedule else ()
    return Finding(
        about=about,
        sentence=say(Reason.DAG_USABLE, dag=dag_id),
        notes=own,
        note=say(Reason.DAG_HAS_SCHEDULE, dag=dag_id) if own else "",
    )


def _held(finding: Finding, policy: StopPolicy) -> Finding:
    """The same with a note where its owner stops all starts."""
    if policy is StopPolicy.NONE:
        return finding
    return Finding(
        about=finding.about,
        sentence=finding.sentence,
        notes=(Reason.HELD,),
        note=say(Reason.HELD, what=finding.about),
    )


# --- how they are shown ------------------------------------------------------------------------


def as_text(findings: Sequence[Finding], screen: Screen) -> Iterator[str]:
    """A line for each, with a tick or a cross; below it what is wrong or noted, and the remedy."""
    if not findings:
        yield "There is nothing to check."
        return
    tick, cross = ("✓", "✗") if screen.unicode else ("ok", "FAILED")
    for finding in findings:
        mark = screen.good(tick) if finding.ok else screen.bad(cross)
        fine = f": {finding.sentence}" if finding.ok and finding.sentence else ""
        yield f"{mark}  {finding.about}{fine}"
        remedies = " ".join(WORDS[note].remedy for note in finding.notes)
        wrong = "" if finding.ok else f"{finding.sentence} {finding.remedy}"
        for text in (wrong, f"{finding.note} {remedies}"):
            if text.strip():
                yield from paragraph(text.strip(), screen.width, "   ")
    yield ""
    failed = sum(not finding.ok for finding in findings)
    if failed:
        yield screen.bad(f"{failed} of {len(findings)} not in order.")
    else:
        yield screen.good(f"All {len(findings)} in order.")


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A list for programs, in the order of the text."""
    return [
        {
            "about": finding.about,
            "ok": finding.ok,
            "reason": None if finding.trouble is None else finding.trouble.value,
            "sentence": finding.sentence,
            "remedy": finding.remedy,
            "notes": [
                {"reason": note.value, "remedy": WORDS[note].remedy} for note in finding.notes
            ],
        }
        for finding in findings
    ]
