"""A conf that cannot be used is told hours before its window opens (R12, R13)."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.ledger import State
from slackwater.core.run import DagFacts
from slackwater.core.spec import Dag, Privacy
from slackwater.core.words import Reason
from tests.core.builders import AIRFLOW, CANARY, DAG, Scene, clock, event, spec

PARAMS = {"epochs": {"value": 3, "schema": {"type": "integer", "minimum": 1, "maximum": 10}}}


def scene(description, conf=None, hours=(10, 14), **changes) -> Scene:
    dag = Dag(
        airflow=AIRFLOW,
        dag_id=DAG,
        conf={"epochs": {"$cel": "event.parameters.epochs"}} if conf is None else conf,
    )
    return Scene(
        spec=spec(dag=dag, **changes),
        events=[event("e1", *hours, description=description)],
        privacy=Privacy.DETAILS,
        facts=DagFacts(problem=None, checked_at=clock(10.5), params_schema=PARAMS),
    )


def test_a_typo_in_an_entry_is_told_hours_ahead_with_param_and_bound_and_when():
    found = scene("epochs=99")
    decision = found.look(2)
    assert decision.actions == ()
    assert found.line().state is State.PLANNED
    told = "The conf cannot be used: epochs must be at most 10, for the window of 2026-06-01 10:00."
    assert found.condition("DagReady") == ("False", Reason.INVALID_CONF, told)
    assert found.status.message == told


def test_the_time_is_that_of_the_windows_zone():
    found = scene("epochs=99", time_zone="Europe/Berlin")
    found.look(2)
    assert "for the window of 2026-06-01 12:00" in found.status.message


def test_once_the_entry_is_corrected_all_is_well_again():
    found = scene("epochs=99")
    found.look(2)
    found.events = [event("e1", 10, 14, description="epochs=9")]
    found.look(3)
    assert found.condition("DagReady")[:2] == ("True", Reason.DAG_USABLE)


def test_what_the_dag_does_not_tell_yet_is_not_judged():
    found = scene("epochs=99")
    found.facts = DagFacts(problem=None, checked_at=clock(0))
    found.look(2)
    assert found.condition("DagReady")[0] == "True"


def test_a_template_that_fails_is_told_by_its_place():
    found = scene("nothing here")
    found.look(2)
    assert "The conf cannot be used: epochs: no such field" in found.status.message


def test_of_several_windows_the_next_one_with_a_fault_is_told():
    found = scene("epochs=4")
    found.events.append(event("e2", 11.5, 12, description="epochs=0"))
    found.look(2)
    assert "epochs must be at least 1, for the window of 2026-06-01 11:30" in found.status.message


def test_a_window_beyond_twelve_hours_is_not_tried_yet():
    found = scene("epochs=99", hours=(20, 22))
    found.look(2)
    assert found.condition("DagReady")[0] == "True"


def test_a_fault_of_a_later_window_does_not_hold_back_the_one_that_is_open():
    found = scene("epochs=4")
    found.events.append(event("e2", 15, 16, description="epochs=0"))
    found.start(10.5)
    assert found.line("e1").state is State.TRIGGERED
    assert found.status.message.startswith(f"DAG {DAG} was triggered")
    assert found.condition("DagReady")[1] is Reason.INVALID_CONF


def test_the_gate_at_the_opening_stays():
    found = scene("epochs=99")
    found.settle(10.5)
    assert found.line().reason is Reason.INVALID_CONF
    assert found.posts == []


HOSTILE = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        [
            "epochs=99",
            "```yaml\nepochs: &a [*a]\n```",
            "<div>" * 3000,
            "epochs=\u202e99",
            "epochs=\x00",
            "epochs=" + "9" * 400,
            "```json\n" + "[" * 5000,
            "🌊" * 1000 + "\nepochs=🌊",
        ]
    ),
)


@settings(max_examples=60)
@given(HOSTILE, st.sampled_from([Privacy.DETAILS, Privacy.BASIC]))
def test_no_description_is_ever_repeated(text, privacy):
    found = scene(f"{CANARY} {text}\n{CANARY}={CANARY}\n{text}")
    found.privacy = privacy
    for hour in (2, 10.5):
        found.settle(hour)
    found.spec = replace(found.spec, suspend=True)
    found.look(11)
    assert CANARY not in repr(found.status)
    assert CANARY not in repr(found.decision)
