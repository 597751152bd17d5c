"""Airflow through its stable REST API (`/api/v2`, Airflow 3.1 and newer).

open        what `ports.Airflow` promises, put together from the rest
preflight   could this DAG be triggered now?
pools       are there slots for its tasks?
trigger     create a run, exactly once with the caller's help
follow      which runs are there, and how are they?
cancel      end a run, or take a queued one away
session     one server: its token, its queue of writes, its errors
auth        where the token comes from and when it is renewed
answers     what Airflow's answers mean
client      apache-airflow-client behind a guarded connection; everything that blocks
lane        who may use a thread next
"""

from slackwater.airflow.auth import Auth, ClientCredentials, LentToken, Login, StaticToken
from slackwater.airflow.open import open_airflow

__all__ = ["Auth", "ClientCredentials", "LentToken", "Login", "StaticToken", "open_airflow"]
