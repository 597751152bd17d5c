"""DAGs for the contract test: each has one trait that the adapter must read."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, Param, task


def one_task() -> None:
    @task
    def nothing() -> None:
        """Never runs: the contract server has no scheduler."""

    nothing()


with DAG("plain", schedule=None, catchup=False):
    one_task()

with DAG("paused", schedule=None, catchup=False, is_paused_upon_creation=True):
    one_task()

with DAG("daily", schedule="@daily", catchup=False):
    one_task()

with DAG("by_asset", schedule=[Asset(name="data", uri="slackwater://data")], catchup=False):
    one_task()

with DAG(
    "params",
    schedule=None,
    catchup=False,
    params={
        "epochs": Param(3, type="integer", minimum=1, maximum=10),
        "rate": Param(0.5, type="number", exclusiveMinimum=0, exclusiveMaximum=1),
        "team": Param("a", type="string", enum=["a", "b"]),
        "label": Param("abc", type="string", minLength=2, maxLength=5, pattern="^[a-z]+$"),
        "when": Param("2026-01-01T00:00:00Z", type=["string", "null"], format="date-time"),
        "plain": 7,
    },
):
    one_task()

with DAG("no_manual", schedule="@daily", catchup=False, allowed_run_types=["scheduled"]):
    one_task()
