"""An example of a training DAG: it takes its settings from the run's conf and survives a stop.

What Slackwater's TrainingWindows of this folder send as conf becomes the run's params, which
Airflow checks against the schemas below. When the run is cancelled, Airflow sends SIGTERM to the
task and, five seconds later, SIGKILL: enough to save a checkpoint, from which a retry goes on.

The training is simulated: each epoch only takes its time.
"""

import json
import logging
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

log = logging.getLogger(__name__)
CHECKPOINTS = Path(os.environ.get("TRAIN_CHECKPOINTS", tempfile.gettempdir()))

with DAG(
    "train_llm",
    schedule=None,  # Slackwater says when
    catchup=False,
    tags=["training"],
    params={
        "epochs": Param(3, type="integer", minimum=1, maximum=100),
        "hyperparameters": Param(
            {},
            type="object",
            properties={
                "model": {"type": "string"},
                "lr": {"type": "number", "exclusiveMinimum": 0},
                "seconds_per_epoch": {"type": "number", "minimum": 0},
            },
        ),
        "until": Param(None, type=["null", "string"], format="date-time"),
    },
):

    @task
    def train() -> dict[str, Any]:
        """Train for `epochs` epochs, from the last checkpoint of this run if there is one."""
        context = get_current_context()
        params = context["params"]
        settings = params["hyperparameters"]
        seconds = float(settings.get("seconds_per_epoch", 5))
        checkpoint = CHECKPOINTS / f"{context['run_id']}.json"
        done = json.loads(checkpoint.read_text())["epochs"] if checkpoint.exists() else 0

        stopping = []
        signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
        for epoch in range(done, params["epochs"]):
            log.info("epoch %d of %d with %s", epoch + 1, params["epochs"], settings)
            end = time.monotonic() + seconds
            while time.monotonic() < end and not stopping:
                time.sleep(0.05)
            if stopping:
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                checkpoint.write_text(json.dumps({"epochs": epoch}))
                raise SystemExit(f"stopped in epoch {epoch + 1}; the checkpoint is {checkpoint}")
        checkpoint.unlink(missing_ok=True)
        return {"epochs": params["epochs"], "settings": settings}

    train()
