"""Bad input and faults, one case each: what is wrong, what is said of it, and what cures it.

`build` writes a namespace with its fault, `heal` takes the fault away and nothing else. `message`
is the whole sentence of the TrainingWindow, and `remedy` what its Event says to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from slackwater.ports import Kind
from tests.calendars.support import calendar, vevent
from tests.fakes.airflow import Param
from tests.fakes.caldav import HOME, FakeDav
from tests.gpus import test_pool
from tests.gpus.fake_prometheus import Asked, row, success, vector

from .town import OPEN, Town

Act = Callable[[Town, str], None]
SAME = ""  # the sentence of the window

TIMES = ("DTSTART:20260323T000000Z", "DTEND:20260323T060000Z")
STRANGER = ("ORGANIZER:mailto:mallory@example.net", "ATTENDEE:mailto:team@example.com")
FEED = calendar(vevent("a", "SUMMARY:train: llm", *TIMES)).decode()
TRAIN = {
    "name": "team",
    "calendarRef": {"name": "team"},
    "effect": "Trigger",
    "match": {"summary": "train:*"},
}
GPU = {"poolRef": {"name": "h100"}, "count": 4}


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        name: its namespace.
        build: writes the namespace, with the fault.
        heal: takes the fault away.
        condition: the condition of the TrainingWindow that says it, and the only one to fail;
            empty where only the dependency says it.
        reason: its reason.
        message: its sentence, which is the window's WHY too.
        remedy: what the Event about it says to do.
        where: kind and name of the dependency that is at fault, and its own sentence.
        own_reason: the dependency's, where it is not the window's.
        only_warned: nothing fails, something is left out.
    """

    name: str
    build: Act
    heal: Act
    condition: str
    reason: str
    message: str
    remedy: str
    where: tuple[Kind, str, str] | None = None
    own_reason: str = ""
    only_warned: bool = False


# --- manifests ---------------------------------------------------------------------------------


def manifest(**spec: Any) -> tuple[Act, Act]:
    """A TrainingWindow with something wrong in it, and the same without."""

    def build(town: Town, here: str) -> None:
        town.window(here, **spec)

    return build, lambda town, here: town.window(here)


def inline(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "now", "effect": "Trigger", **fields}]


def absent(kind: str, **spec: Any) -> tuple[Act, Act]:
    """A reference to an object that does not exist, and that object."""

    def build(town: Town, here: str) -> None:
        town.window(here, **spec)

    def heal(town: Town, here: str) -> None:
        if kind == "AirflowInstance":
            town.server(here)
        else:
            town.write(here, kind, *DEPENDENCIES[kind])

    return build, heal


DEPENDENCIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Calendar": (
        "team",
        {"provider": {"static": {"events": [{"uid": "a", "summary": "train: llm", **OPEN}]}}},
    ),
    "GPUPool": ("h100", {"source": {"static": {"gpus": 8}}}),
}


def ungranted(kind: str, field: str, ref: str) -> tuple[Act, Act]:
    """A reference to an object of another namespace that does not let us in."""

    def lend(town: Town, here: str, *, grant: bool) -> None:
        owner = f"{here}-owner"
        everyone = {"from": "All"} if grant else {"from": "Same"}
        if kind == "AirflowInstance":
            town.server(owner, grants=[{"namespaces": everyone, "dags": ["*"]}])
            return
        name, spec = DEPENDENCIES[kind]
        shared = (
            {"allowedNamespaces": everyone}
            if kind == "Calendar"
            else {"grants": [{"namespaces": everyone}]}
        )
        town.write(owner, kind, name, spec | shared)

    def build(town: Town, here: str) -> None:
        lend(town, here, grant=False)
        reference = {"name": ref, "namespace": f"{here}-owner"}
        if kind == "AirflowInstance":
            town.window(here, dag={"airflowRef": reference, "dagId": town.dag(here)})
            return
        if kind == "Calendar":
            town.window(here, calendars=[TRAIN | {field: reference}])
        else:
            town.window(here, gpu=GPU | {field: reference})

    return build, lambda town, here: lend(town, here, grant=True)


# --- calendars ---------------------------------------------------------------------------------


def feed(status: int, body: str) -> tuple[Act, Act]:
    """A feed that answers so, and then as it should."""

    def build(town: Town, here: str) -> None:
        town.feeds[here] = status, body
        town.secret(here, "feed", url=f"{town.base}/feeds/{here}")
        ical = {"ical": {"urlSecretRef": {"name": "feed", "key": "url"}}}
        town.write(here, "Calendar", "team", {"provider": ical, "refreshIntervalSeconds": 300})
        town.window(here, calendars=[TRAIN])

    def heal(town: Town, here: str) -> None:
        town.feeds[here] = 200, FEED

    return build, heal


def feed_key() -> tuple[Act, Act]:
    def build(town: Town, here: str) -> None:
        feed(200, FEED)[0](town, here)
        ical = {"ical": {"urlSecretRef": {"name": "feed", "key": "adress"}}}
        town.write(here, "Calendar", "team", {"provider": ical})

    def heal(town: Town, here: str) -> None:
        town.secret(here, "feed", adress=f"{town.base}/feeds/{here}")

    return build, heal


def dav(town: Town, here: str, **traits: Any) -> FakeDav:
    """A calendar on a CalDAV server, in which somebody else invites to a training."""
    town.davs[here] = FakeDav(user=here, password="right", **traits)
    town.secret(here, "dav", username=here, password="right")
    refs = {f"{key}SecretRef": {"name": "dav", "key": key} for key in ("username", "password")}
    caldav = {"caldav": {"url": f"{town.base}{HOME}", **refs}}
    town.write(here, "Calendar", "team", {"provider": caldav, "refreshIntervalSeconds": 300})
    town.window(here, calendars=[TRAIN])
    return town.davs[here]


def stranger() -> tuple[Act, Act]:
    def build(town: Town, here: str) -> None:
        event = vevent("a", "SUMMARY:train: x", *STRANGER, *TIMES)
        dav(town, here).put("a.ics", calendar(event))

    def heal(town: Town, here: str) -> None:
        accepted = (STRANGER[0], "ATTENDEE;PARTSTAT=ACCEPTED:mailto:team@example.com")
        event = vevent("a", "SUMMARY:train: x", *accepted, *TIMES)
        town.davs[here].put("a.ics", calendar(event))

    return build, heal


def dav_password() -> tuple[Act, Act]:
    def build(town: Town, here: str) -> None:
        dav(town, here).put("a.ics", FEED)
        town.secret(here, "dav", password="wrong")

    return build, lambda town, here: town.secret(here, "dav", password="right")


# --- pools -------------------------------------------------------------------------------------

GOOD = vector(*test_pool.ROWS)


def promql(answer: Any) -> tuple[Act, Act]:
    """A Prometheus that answers the pool's own query so, and then as it should."""

    def build(town: Town, here: str) -> None:
        address = f"{town.base}/{here}"
        source = {"prometheus": {"serverAddress": address, "queries": {"waiting": "sum(queue)"}}}
        spec = {"source": source, "nodes": "gpu-.*", "sampleIntervalSeconds": 60}
        town.write(here, "GPUPool", "h100", spec)
        town.answers[here] = answer
        town.window(here, gpu=GPU)

    def heal(town: Town, here: str) -> None:
        town.answers[here] = vector(row(0))

    return build, heal


# --- Airflow -----------------------------------------------------------------------------------


def dag(**traits: Any) -> tuple[Act, Act]:
    """A DAG with these traits, and without them."""

    def build(town: Town, here: str) -> None:
        town.window(here)
        town.deploy(here, **traits)

    return build, lambda town, here: town.deploy(here)


def no_dag() -> tuple[Act, Act]:
    def build(town: Town, here: str) -> None:
        town.window(here)
        del town.airflow.dags[town.dag(here)]

    return build, lambda town, here: town.deploy(here)


def conf() -> tuple[Act, Act]:
    def build(town: Town, here: str) -> None:
        epochs = Param(3, {"type": "integer", "maximum": 10})
        town.deploy(here, params={"epochs": epochs})
        write(town, here, 11)

    def write(town: Town, here: str, epochs: int) -> None:
        town.window(here, dag=town.dag_of(here) | {"conf": {"epochs": epochs}})

    return build, lambda town, here: write(town, here, 10)


def airflow_secret(**values: str) -> tuple[Act, Act]:
    """The login of an Airflow: wrong, and then right."""

    def build(town: Town, here: str) -> None:
        town.server(here)
        (town.root / "secrets" / here / "airflow" / "password").unlink()
        town.secret(here, "airflow", **values)
        town.window(here)

    return build, lambda town, here: town.secret(here, "airflow", password="admin")


HTML = "<!doctype html><title>Please log in</title>"
CUT_OFF = FEED[: len(FEED) // 2]
EVERY_SECOND = ";".join(
    f"{part}={','.join(map(str, range(count)))}"
    for part, count in (("BYHOUR", 24), ("BYMINUTE", 60), ("BYSECOND", 60))
)
BOMB = calendar(
    vevent("bomb", "SUMMARY:train: x", *TIMES, f"RRULE:FREQ=DAILY;{EVERY_SECOND}")
).decode()


CASES: tuple[Case, ...] = (
    Case(
        "zone",
        *manifest(timeZone="Mars/Phobos"),
        "Ready",
        "UnknownTimeZone",
        "spec.timeZone: Mars/Phobos is not a time zone of the IANA database.",
        "Use a name such as Europe/Berlin or UTC.",
    ),
    Case(
        "never-fires",
        *manifest(windows=inline(schedule="0 0 30 2 *", durationSeconds=3600)),
        "Ready",
        "NeverFires",
        "spec.windows[0].schedule: this schedule names no day that exists.",
        "Correct the day and month fields.",
    ),
    Case(
        "no-length",
        *manifest(windows=inline(schedule="0 0 * * *", durationSeconds=0)),
        "Ready",
        "InvalidSpec",
        "spec.windows[0].durationSeconds: must be at least 60",
        "Correct the field named here and apply the manifest again.",
    ),
    Case(
        "no-span",
        *manifest(windows=inline(start=OPEN["start"], end=OPEN["start"])),
        "Ready",
        "InvalidSpec",
        "spec.windows[0]: end must be later than start: swap the two or correct the date",
        "Correct the field named here and apply the manifest again.",
    ),
    Case(
        "no-calendar",
        *absent("Calendar", calendars=[TRAIN]),
        "Ready",
        "CalendarNotFound",
        "Calendar no-calendar/team does not exist.",
        "Create it or correct calendarRef.",
    ),
    Case(
        "no-pool",
        *absent("GPUPool", gpu=GPU),
        "Ready",
        "PoolNotFound",
        "GPUPool no-pool/h100 does not exist.",
        "Create it or correct poolRef.",
    ),
    Case(
        "no-airflow",
        *absent(
            "AirflowInstance", dag={"airflowRef": {"name": "main"}, "dagId": "no-airflow-train"}
        ),
        "Ready",
        "AirflowNotFound",
        "AirflowInstance no-airflow/main does not exist.",
        "Create it or correct airflowRef.",
    ),
    Case(
        "calendar-grant",
        *ungranted("Calendar", "calendarRef", "team"),
        "Ready",
        "CalendarNotGranted",
        "Calendar calendar-grant-owner/team does not allow namespace calendar-grant.",
        "Ask its owner to add the namespace to spec.allowedNamespaces.",
    ),
    Case(
        "pool-grant",
        *ungranted("GPUPool", "poolRef", "h100"),
        "Ready",
        "PoolNotGranted",
        "GPUPool pool-grant-owner/h100 grants nothing to namespace pool-grant.",
        "Ask its owner to add a grant to spec.grants.",
    ),
    Case(
        "airflow-grant",
        *ungranted("AirflowInstance", "airflowRef", "main"),
        "Ready",
        "AirflowNotGranted",
        "AirflowInstance airflow-grant-owner/main grants nothing to namespace airflow-grant.",
        "Ask its owner to add a grant to spec.grants.",
    ),
    Case(
        "feed-key",
        *feed_key(),
        "CalendarsSynced",
        "SecretKeyNotFound",
        "Secret of Calendar feed-key/team has no key of that name.",
        "Add the key or correct the reference.",
        (Kind.CALENDAR, "team", "Secret feed-key/feed has no key adress."),
    ),
    Case(
        "feed-html",
        *feed(200, HTML),
        "CalendarsSynced",
        "Malformed",
        "Calendar feed-html/team answers with something that cannot be read.",
        "Check that the address gives the document and not a web page, and gives it whole.",
        (Kind.CALENDAR, "team", SAME),
    ),
    Case(
        "feed-cut-off",
        *feed(200, CUT_OFF),
        "CalendarsSynced",
        "Malformed",
        "Calendar feed-cut-off/team answers with something that cannot be read.",
        "Check that the address gives the document and not a web page, and gives it whole.",
        (Kind.CALENDAR, "team", SAME),
    ),
    Case(
        "dav-password",
        *dav_password(),
        "CalendarsSynced",
        "Unauthorized",
        "Calendar dav-password/team refuses the credentials.",
        "Check the secret that the object names.",
        (Kind.CALENDAR, "team", SAME),
    ),
    Case(
        "promql-text",
        *promql(success("string", [1, "eight"])),
        "CapacityAvailable",
        "BadResultType",
        "GPUPool promql-text/h100 gives a result of the wrong type.",
        "The query must give numbers.",
        (
            Kind.GPU_POOL,
            "h100",
            "Prometheus of pool promql-text/h100 (queries.waiting) gives a result of the wrong type.",
        ),
    ),
    Case(
        "promql-nan",
        *promql(vector(row("NaN"))),
        "CapacityAvailable",
        "NotANumber",
        "GPUPool promql-nan/h100 gives NaN or infinity for the pool.",
        "Check the query.",
        (
            Kind.GPU_POOL,
            "h100",
            "Prometheus of pool promql-nan/h100 (queries.waiting) gives NaN or infinity for the pool.",
        ),
    ),
    Case(
        "promql-two",
        *promql(vector(row(1, a="1"), row(2, a="2"))),
        "CapacityAvailable",
        "TooManySeries",
        "GPUPool promql-two/h100 gives several series where one is meant.",
        "Aggregate in the query.",
        (
            Kind.GPU_POOL,
            "h100",
            "Prometheus of pool promql-two/h100 (queries.waiting) gives several series where one is meant.",
        ),
    ),
    Case(
        "promql-warning",
        *promql(vector(row(1), warnings=["a store is away"])),
        "CapacityAvailable",
        "PartialResponse",
        "GPUPool promql-warning/h100 gives a partial answer.",
        "Look at its warnings and its stores.",
        (
            Kind.GPU_POOL,
            "h100",
            "Prometheus of pool promql-warning/h100 (queries.waiting) gives a partial answer.",
        ),
    ),
    Case(
        "promql-html",
        *promql("html"),
        "CapacityAvailable",
        "NotPrometheus",
        "GPUPool promql-html/h100 does not answer as Prometheus does.",
        "Check serverAddress.",
        (
            Kind.GPU_POOL,
            "h100",
            "Prometheus of pool promql-html/h100 (queries.waiting) does not answer as Prometheus does.",
        ),
    ),
    Case(
        "airflow-key",
        *airflow_secret(),
        "DagReady",
        "SecretKeyNotFound",
        "Secret airflow-key/airflow has no key password.",
        "Add the key or correct the reference.",
        (Kind.AIRFLOW_INSTANCE, "main", SAME),
    ),
    Case(
        "airflow-password",
        *airflow_secret(password="wrong"),
        "DagReady",
        "Unauthorized",
        "Airflow airflow-password/main refuses the credentials.",
        "Check the secret that the object names.",
        (Kind.AIRFLOW_INSTANCE, "main", SAME),
    ),
    Case(
        "dag-missing",
        *no_dag(),
        "DagReady",
        "DagNotFound",
        "DAG dag-missing-train does not exist in Airflow shared/main.",
        "Deploy it or correct dagId.",
    ),
    Case(
        "dag-paused",
        *dag(paused=True),
        "DagReady",
        "DagPaused",
        "DAG dag-paused-train is paused.",
        "Unpause it in Airflow.",
    ),
    Case(
        "dag-broken",
        *dag(import_errors=True),
        "DagReady",
        "DagHasImportErrors",
        "The file of DAG dag-broken-train has import errors.",
        "See Airflow's import errors.",
    ),
    Case(
        "conf",
        *conf(),
        "DagReady",
        "InvalidConf",
        "The conf cannot be used: epochs must be at most 10.",
        "Correct spec.dag.conf or the event.",
    ),
    # These take something away that would have started a run: the calendar itself is well.
    Case(
        "stranger",
        *stranger(),
        "CalendarsSynced",
        "UntrustedOrganizer",
        "Matching events that others organised, and that do not trigger: 1.",
        "Accept them in the calendar or list the organisers in match.organizers.",
        only_warned=True,
    ),
    Case(
        "feed-bomb",
        *feed(200, BOMB),
        "CalendarsSynced",
        "MatchUnreadable",
        "Events that could not be read or matched, being invalid, private or by a failed "
        "expression, so that they deny and do not trigger: 1.",
        "Check the expression, share the calendar with details, or see what the Calendar reports.",
        (
            Kind.CALENDAR,
            "team",
            (
                "Events that could not be read or expanded, so that they start nothing, and deny all "
                "the time that they may take: 1."
            ),
        ),
        own_reason="SeriesSkipped",
        only_warned=True,
    ),
)


def answer(town: Town) -> Callable[[Asked], Any]:
    """What the Prometheus of each case answers."""

    def reply(asked: Asked) -> Any:
        if asked.path.endswith("query_range"):
            return success("matrix", [])
        if "sum(queue)" not in asked.query:
            return GOOD
        given = town.answers[asked.path.split("/")[1]]
        return web.Response(text=HTML, content_type="text/html") if given == "html" else given

    return reply
