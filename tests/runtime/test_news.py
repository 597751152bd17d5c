"""Whom news reach: not everybody who uses the same server."""

from tests.core.builders import DAG, NS
from tests.runtime.rig import Ref, Village, on_virtual_time


@on_virtual_time
async def test_facts_of_a_dag_touch_only_the_windows_that_start_it(time):
    village = Village(time)
    key = village.apply_airflow()
    for name in ("one", "two"):
        village.apply_window(name)
    for index in range(20):
        other = {"airflowRef": {"name": "default"}, "dagId": f"other{index}"}
        village.apply_window(f"other{index}", dag=other)
    follower = village.objects.airflow(key.ref)
    await follower.look()
    village.touched.clear()
    follower.want_facts(DAG)
    await follower.look()
    assert village.touched == [Ref(NS, "one"), Ref(NS, "two")]
