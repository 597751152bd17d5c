"""How often a DAG is checked before its window (R12): early, and ever more often, not all the time."""

import itertools

from tests.runtime.rig import MINUTE, Bay, at, on_virtual_time


@on_virtual_time
async def test_a_dag_is_checked_early_and_just_before_its_window_and_seldom_between(clock):
    bay = Bay(clock)
    bay.apply_all()
    asked = []
    good = bay.airflow.preflight

    async def counted(dag_id):
        asked.append(clock.now())
        return await good(dag_id)

    bay.airflow.preflight = counted
    bay.event(20, 21)
    bay.window()
    bay.start()
    await bay.until(19.99)
    ahead = [moment for moment in asked if moment > at(1)]
    assert at(8) <= ahead[0] <= at(8) + 15 * MINUTE
    assert at(20) - ahead[-1] <= 11 * MINUTE
    assert len(ahead) <= 20
    for before, after in itertools.pairwise(ahead):
        assert after - before <= max(12 * MINUTE, (at(20) - before) / 2)
    await bay.until(21)
    assert bay.states() in (["Succeeded"], ["Running"])
    await bay.stop()
