"""Every outcome in one place: its reason, its sentence and its remedy (rule R12).

A `Reason` is the closed list that conditions, Kubernetes Events, metrics and the ledger share.
`WORDS` gives each one sentence (with named gaps) and one remedy. Nothing else in Slackwater
words an outcome, so documentation and tests can list them all.
"""

from __future__ import annotations

from typing import Final

from slackwater.core.access_words import ACCESS
from slackwater.core.reasons import Reason
from slackwater.core.word import Word

__all__ = ["WORDS", "Reason", "Word", "say"]


_R = Reason
WORDS: Final[dict[Reason, Word]] = {
    **ACCESS,
    _R.ACCEPTED: Word("The configuration is accepted and every reference is usable."),
    _R.SYNCED: Word("Every calendar is up to date."),
    _R.OPEN: Word("A window is open until {until}."),
    _R.CLOSED: Word("The next window opens at {start}."),
    _R.NONE_AHEAD: Word("No window within the next 35 days."),
    _R.ENOUGH: Word("{free} of the {count} GPUs asked for are free in {pool}."),
    _R.NOT_ASKED: Word("No GPUs are asked for."),
    _R.DAG_USABLE: Word("DAG {dag} can be triggered."),
    _R.FRESH: Word("The pool's numbers are fresh and complete."),
    _R.INVALID_SPEC: Word(
        "{detail}", "Correct the field named here and apply the manifest again.", True
    ),
    _R.UNKNOWN_TIME_ZONE: Word(
        "{field}: {zone} is not a time zone of the IANA database.",
        "Use a name such as Europe/Berlin or UTC.",
        True,
    ),
    _R.INVALID_SCHEDULE: Word(
        "{field}: {detail}",
        'Use five cron fields, for example "0 22 * * 1-5".',
        True,
    ),
    _R.NEVER_FIRES: Word(
        "{field}: this schedule names no day that exists.",
        "Correct the day and month fields.",
        True,
    ),
    _R.INVALID_EXPRESSION: Word(
        "{field}: {detail}", "Correct the CEL expression; `slackwater plan` tries it.", True
    ),
    _R.CALENDAR_NOT_FOUND: Word(
        "Calendar {ref} does not exist.", "Create it or correct calendarRef.", True
    ),
    _R.CALENDAR_NOT_GRANTED: Word(
        "Calendar {ref} does not allow namespace {namespace}.",
        "Ask its owner to add the namespace to spec.allowedNamespaces.",
        True,
    ),
    _R.POOL_NOT_FOUND: Word("GPUPool {ref} does not exist.", "Create it or correct poolRef.", True),
    _R.POOL_NOT_GRANTED: Word(
        "GPUPool {ref} grants nothing to namespace {namespace}.",
        "Ask its owner to add a grant to spec.grants.",
        True,
    ),
    _R.POOL_REQUIRED: Word(
        "AirflowInstance {ref} requires every TrainingWindow to name a GPUPool.",
        "Add spec.gpu with a poolRef and a count.",
        True,
    ),
    _R.AIRFLOW_NOT_FOUND: Word(
        "AirflowInstance {ref} does not exist.", "Create it or correct airflowRef.", True
    ),
    _R.AIRFLOW_NOT_GRANTED: Word(
        "AirflowInstance {ref} grants nothing to namespace {namespace}.",
        "Ask its owner to add a grant to spec.grants.",
        True,
    ),
    _R.DAG_NOT_GRANTED: Word(
        "AirflowInstance {ref} does not let namespace {namespace} trigger DAG {dag}.",
        "Ask its owner to add the DAG to the grant's dags.",
        True,
    ),
    _R.SECRET_NOT_FOUND: Word(
        "Secret {ref} does not exist or cannot be read.",
        "Create it in the namespace of the object that names it; without a cluster, as a file "
        "NAMESPACE/NAME/KEY in the directory that --secrets names.",
        True,
    ),
    _R.SECRET_KEY_NOT_FOUND: Word(
        "Secret {ref} has no key {key}.", "Add the key or correct the reference.", True
    ),
    _R.IDENTITY_NOT_LENT: Word(
        "The operator's configuration does not lend identity {identity} to this object.",
        "Have it name this namespace and host for the identity, or use credentials of a Secret.",
        True,
    ),
    _R.IDENTITY_UNREADABLE: Word(
        "The token of identity {identity} cannot be read.",
        "Look at the file that the operator's configuration names for it.",
        True,
    ),
    _R.FREE_BUSY_CANNOT_TRIGGER: Word(
        "{field}: a calendar at privacy FreeBusy has no event identities, so it cannot trigger.",
        "Use effect Deny or Allow, or raise the calendar's privacy to Basic.",
        True,
    ),
    _R.FIELD_UNAVAILABLE: Word(
        "{field} needs {needs}, which calendar {ref} does not give at privacy {privacy}.",
        "Drop the field, or raise spec.privacy of the calendar where a higher level gives it.",
        True,
    ),
    _R.EXCEEDS_GRANT: Word(
        "{count} GPUs are asked for, but the grant of GPUPool {ref} allows {limit}.",
        "Ask for less or have maxGPUs of the grant raised.",
        True,
    ),
    _R.OVERLAPS: Word(
        "Node {node} belongs to the older GPUPool {other} too.",
        "Make the two node selections disjoint.",
        True,
    ),
    _R.NOT_READ_YET: Word("{what} has not been read yet."),
    _R.UNAUTHORIZED: Word(
        "{what} refuses the credentials.", "Check the secret that the object names.", True
    ),
    _R.FORBIDDEN: Word(
        "{what} accepts the credentials but denies access.",
        "Give the account the permission that the documentation names.",
        True,
    ),
    _R.NOT_FOUND: Word("{what} answers that it does not exist.", "Check the URL or the id.", True),
    _R.UNREACHABLE: Word(
        "{what} cannot be reached.", "Check the address, DNS and network policies.", True
    ),
    _R.UNAVAILABLE: Word("{what} answers with a server error.", "Look at its own logs.", True),
    _R.TIMEOUT: Word("{what} did not answer in time.", "Look at its load and the network.", True),
    _R.THROTTLED: Word("{what} asks for fewer requests.", "It is tried again by itself.", True),
    _R.REDIRECTED: Word(
        "{what} redirects elsewhere, as login pages do.",
        "Use the address that answers directly, with credentials.",
        True,
    ),
    _R.BLOCKED_TARGET: Word(
        "{what} is at an address that this installation does not allow.",
        "Use a public address, or have the operator's configuration name the range.",
        True,
    ),
    _R.BAD_REQUEST: Word(
        "{what} does not understand the request.", "Check the object's settings.", True
    ),
    _R.MALFORMED: Word(
        "{what} answers with something that cannot be read.",
        "Check that the address gives the document and not a web page, and gives it whole.",
        True,
    ),
    _R.TOO_LARGE: Word("{what} answers with more than can be taken.", "Ask for less.", True),
    _R.LIMIT_EXCEEDED: Word(
        "{what} holds more than the documented limits.",
        "Split the calendar or simplify the repeating event.",
        True,
    ),
    _R.INTERNAL_ERROR: Word(
        "{what} cannot be read because of a fault in Slackwater ({detail}).",
        "Report it with the traceback in Slackwater's log; it is tried again by itself.",
        True,
    ),
    _R.STALE: Word(
        "Calendar {ref} was last read at {since}, too long ago to trust.",
        "See the Calendar's own condition.",
        True,
    ),
    _R.UNSTABLE_UIDS: Word(
        "Calendar {ref} gives its events new identities at each read.",
        "Use a feed with stable UIDs; moved events cannot be recognised in this one.",
        True,
    ),
    _R.SERIES_SKIPPED: Word(
        "Events that could not be read or expanded, so that they start nothing, and deny all the "
        "time that they may take: {count}.",
        "Look for rules by the second or minute, or invalid ones.",
        True,
    ),
    _R.UNKNOWN_EVENT_ZONE: Word(
        "Events that name a time zone that nobody knows, so that they start nothing, and deny all "
        "the time that they may take: {count}.",
        "Correct the events' time zone in the calendar.",
        True,
    ),
    _R.MATCH_UNREADABLE: Word(
        "Events that could not be read or matched, being invalid, private or by a failed "
        "expression, so that they deny and do not trigger: {count}.",
        "Check the expression, share the calendar with details, or see what the Calendar reports.",
        True,
    ),
    _R.UNTRUSTED_ORGANIZER: Word(
        "Matching events that others organised, and that do not trigger: {count}.",
        "Accept them in the calendar or list the organisers in match.organizers.",
        True,
    ),
    _R.NO_DATA: Word(
        "{what} has no data for the pool.", "Check that the exporters are scraped.", True
    ),
    _R.NOT_A_NUMBER: Word("{what} gives NaN or infinity for the pool.", "Check the query.", True),
    _R.TOO_MANY_SERIES: Word(
        "{what} gives several series where one is meant.", "Aggregate in the query.", True
    ),
    _R.BAD_RESULT_TYPE: Word(
        "{what} gives a result of the wrong type.", "The query must give numbers.", True
    ),
    _R.PARTIAL_RESPONSE: Word(
        "{what} gives a partial answer.", "Look at its warnings and its stores.", True
    ),
    _R.BAD_QUERY: Word("{what} cannot evaluate the query.", "Correct the query.", True),
    _R.NOT_PROMETHEUS: Word(
        "{what} does not answer as Prometheus does.", "Check serverAddress.", True
    ),
    _R.STALE_SAMPLE: Word(
        "The numbers of {pool} are older than allowed.",
        "Check the exporters and the scrape interval.",
        True,
    ),
    _R.LOW_COVERAGE: Word(
        "Only {coverage} % of the GPUs of {pool} report.", "Check the exporters.", True
    ),
    _R.PROMISES_UNKNOWN: Word(
        "The runs that may hold GPUs of {pool} are not known yet.",
        "It passes when Airflow answers.",
    ),
    _R.RESERVATIONS_UNKNOWN: Word(
        "The reservations of {pool} are not known: Calendar {calendar} cannot be read.",
        "See the status of that Calendar and its allowedNamespaces.",
        True,
    ),
    _R.WAITING_FOR_GPUS: Word(
        "Waiting for {count} GPUs in {pool} since {since}: {free} free{promised}{standing}."
    ),
    _R.WAITING_FOR_TURN: Word(
        "Waiting for a turn in {pool} since {since}: {free} free{promised}{standing}."
    ),
    _R.RESERVED: Word(
        "Waiting for {count} GPUs in {pool} since {since}: {free} free{promised}, but {reserved} "
        "are reserved by calendar until {until}{standing}."
    ),
    _R.OFF_PEAK: Word(
        "Planned for {planned_start}: load expected {expected} %, now {present} %; "
        "latest start {latest_start}."
    ),
    _R.PLAN_MOVED: Word("The planned start moved from {planned_before} to {planned_start}."),
    _R.EXCEEDS_CAPACITY: Word(
        "{count} GPUs are asked for, but {pool} has {capacity} in pods of {per_pod}.",
        "Ask for less or choose another pool.",
        True,
    ),
    _R.TOO_BUSY: Word("Waiting since {since}: {pool} is at {now} %, asked for below {limit} %."),
    _R.NOT_QUIET_LONG_ENOUGH: Word(
        "Waiting since {since}: {pool} must stay below {limit} % until {until}."
    ),
    _R.MAX_CONCURRENT_RUNS: Word(
        "Waiting since {since}: {pool} takes {limit} runs at a time{standing}."
    ),
    _R.WONT_FINISH: Word(
        "Not started: a run takes about {duration} and would end after {latest}.",
        "Lengthen the window or shorten the run.",
        True,
    ),
    _R.CROSSES_DENY: Word(
        "Not started: a run takes about {duration} and `{entry}` cancels runs at {latest}.",
        "Move the window or the denied time.",
        True,
    ),
    _R.MISSES_DEADLINE: Word(
        "Not started: a run takes about {duration} and must end by {latest} for `{entry}`.",
        "Start earlier or move the deadline.",
        True,
    ),
    _R.AIRFLOW_UNSUPPORTED: Word(
        "{what} is Airflow 2 or older.", "Slackwater needs Airflow 3.1 or newer.", True
    ),
    _R.SCHEDULER_UNHEALTHY: Word(
        "The scheduler of {what} is not healthy: runs would not start.",
        "Look at the scheduler's logs.",
        True,
    ),
    _R.DAG_NOT_FOUND: Word(
        "DAG {dag} does not exist in {what}.", "Deploy it or correct dagId.", True
    ),
    _R.DAG_PAUSED: Word("DAG {dag} is paused.", "Unpause it in Airflow.", True),
    _R.DAG_STALE: Word(
        "DAG {dag} has vanished from Airflow's DAG folder.", "Deploy it again.", True
    ),
    _R.DAG_HAS_IMPORT_ERRORS: Word(
        "The file of DAG {dag} has import errors.", "See Airflow's import errors.", True
    ),
    _R.AIRFLOW_POOL_NOT_FOUND: Word(
        "A task of DAG {dag} wants Airflow's pool {detail}, which does not exist: it would hang.",
        "Create the pool in Airflow, or correct the task's pool.",
        True,
    ),
    _R.AIRFLOW_POOL_TOO_SMALL: Word(
        "A task of DAG {dag} wants more slots than Airflow's pool {detail} has: it would hang.",
        "Give the pool more slots in Airflow, or correct the task's pool_slots.",
        True,
    ),
    _R.DAG_HAS_SCHEDULE: Word(
        "DAG {dag} also has a schedule of its own and runs outside these windows.",
        "Set schedule=None in the DAG.",
        True,
    ),
    _R.INVALID_CONF: Word(
        "The conf cannot be used: {detail}.", "Correct spec.dag.conf or the event.", True
    ),
    _R.RUN_ID_CONFLICT: Word(
        "Airflow has a run of this id that is not ours.", "Delete that run in Airflow.", True
    ),
    _R.REJECTED: Word("Airflow refuses the run: {detail}.", "See the message.", True),
    _R.START_RATE_LIMITED: Word("Waiting since {since}: {what} takes {limit} starts a minute."),
    _R.SUSPENDED: Word("Suspended.", "Set spec.suspend to false."),
    _R.HELD: Word("{what} is held by its stopPolicy.", "Set stopPolicy to None."),
    _R.PREVIOUS_RUN_ACTIVE: Word("Waiting since {since}: the previous run is still active."),
    _R.REFRESHING: Word("Looking at the calendar once more before the start."),
    _R.EVENT_VANISHED: Word("The event is missing from the calendar: not started."),
    _R.UNSETTLED: Word("Asking Airflow what became of the start at {since}."),
    _R.AHEAD: Word("Planned for {start}."),
    _R.STARTING: Word("Starting DAG {dag}."),
    _R.TRIGGERED: Word("DAG {dag} was triggered; the run is queued in Airflow."),
    _R.ADOPTED: Word("A run of ours was found in Airflow and is followed."),
    _R.DAG_VANISHED: Word(
        "The run should have ended, but Airflow has lost DAG {dag} and does not change its runs.",
        "Deploy the DAG again, or end the run's tasks where they run.",
        True,
    ),
    _R.STILL_QUEUED: Word(
        "The run of DAG {dag} is queued in Airflow since {since} and nothing takes it up.",
        "Look at the DAG's max_active_runs, whether it is paused, and at Airflow's scheduler.",
        True,
    ),
    _R.RUNNING: Word("DAG {dag} is running since {since}."),
    _R.SUCCEEDED: Word("The run of DAG {dag} succeeded."),
    _R.FAILED: Word("The run of DAG {dag} failed.", "See its task logs in Airflow.", True),
    _R.EMPTY_WINDOW: Word(
        "Nothing is left of the window: denied, or outside every Allow.",
        "See `slackwater plan`.",
        True,
    ),
    _R.DEADLINE_EXCEEDED: Word(
        "Missed: the start deadline of {deadline} passed.",
        "Raise startingDeadlineSeconds.",
        True,
    ),
    _R.CONTROLLER_DOWN: Word(
        "Missed: Slackwater was not running during the window.",
        "Look at why the operator was down.",
        True,
    ),
    _R.WINDOW_ENDED: Word("The window ended at {until}."),
    _R.DENY_STARTED: Word("`{entry}` began and cancels runs."),
    _R.EVENT_CANCELLED: Word("The event was deleted."),
    _R.EVENT_MOVED: Word("The event was moved."),
    _R.OVERLAP_ONCE: Word("Another occurrence started in the same time and overlap is Once."),
    _R.REPLACED: Word(
        "Its run had started before the event was edited or moved to another calendar."
    ),
    _R.SKIPPED_BY_USER: Word("Skipped by request."),
    _R.TRIGGERED_BY_USER: Word("Triggered by request."),
    _R.DRAINED: Word("{what} is being drained."),
    _R.RUN_DELETED: Word(
        "The run was deleted in Airflow.", "Airflow's audit log tells who deleted it.", True
    ),
    _R.ALREADY_RAN: Word("The event was moved after its run had started: it does not run again."),
}


def say(reason: Reason, **gaps: object) -> str:
    """The sentence of a reason with its gaps filled; a gap that is not given stays a dash.

    >>> say(Reason.DAG_PAUSED, dag="train_llm")
    'DAG train_llm is paused.'
    """
    sentence = WORDS[reason].sentence
    return sentence.format_map(_Gaps(gaps)) if "{" in sentence else sentence


class _Gaps(dict[str, object]):
    def __missing__(self, key: str) -> object:
        return "-"
