"""What Airflow loads in each of its components; it imports nothing that they have not got anyway."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/slackwater"


class SlackwaterPlugin(AirflowPlugin):
    """The tide table, and the timetable that DAGs may be scheduled by."""

    name = "slackwater"
    external_views = [  # noqa: RUF012 - Airflow's own form
        {
            "name": "Training windows",
            "href": "slackwater/",
            "destination": "nav",
            "category": "browse",
            "url_route": "training-windows",
        },
        {
            "name": "Windows",
            "href": "slackwater/?dag_id={DAG_ID}",
            "destination": "dag",
            "url_route": "windows",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """Read by the API server alone."""
        from slackwater_airflow.view import TideTable

        return [{"app": TideTable(), "url_prefix": PREFIX, "name": "Slackwater"}]

    @property
    def timetables(self) -> list[Any]:
        """Read where DAGs are stored or scheduled."""
        from slackwater_airflow.timetable import TrainingWindowTimetable

        return [TrainingWindowTimetable]
