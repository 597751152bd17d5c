"""An example of a training DAG that may be stopped at the end of any window and goes on in the next.

What Slackwater's TrainingWindows of this folder send as conf becomes the run's params, which
Airflow checks against the schemas below. When a run is cancelled, Airflow sends SIGTERM to the
task and, five seconds later, SIGKILL: enough to save a checkpoint. The checkpoint belongs to the
training and not to the run, so the run of the next window goes on from it: same TrainingWindow,
same hyperparameters, same training.

The training is simulated: each of an epoch's steps only takes its time.
"""

import hashlib
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
# A volume that outlives the pod, or a bucket, in earnest.
CHECKPOINTS = Path(os.environ.get("TRAIN_CHECKPOINTS", tempfile.gettempdir()))
STEPS = 20  # of an epoch


def checkpoint_of(run: Any, settings: dict[str, Any]) -> Path:
    """Where a training is kept: by TrainingWindow and settings, or by run if a person started it."""
    window = (run.conf or {}).get("trainingWindow")
    owner = f"{window['namespace']}.{window['name']}" if window else run.run_id
    same = {name: value for name, value in settings.items() if name != "epochs"}
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]
    return CHECKPOINTS / f"{owner}.{digest}.json"


def save(checkpoint: Path, steps: int) -> None:
    """Write a checkpoint whole or not at all: SIGKILL may come at any moment."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fresh = checkpoint.with_suffix(".new")
    fresh.write_text(json.dumps({"steps": steps}))
    fresh.replace(checkpoint)


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
        """Train for `epochs` epochs in all, from the last checkpoint of this training."""
        context = get_current_context()
        params = context["params"]
        settings = params["hyperparameters"]
        seconds = float(settings.get("seconds_per_epoch", 5)) / STEPS
        checkpoint = checkpoint_of(context["dag_run"], settings)
        resumed = json.loads(checkpoint.read_text())["steps"] if checkpoint.exists() else 0
        log.info("begins at step %d", resumed)

        stopping: list[bool] = []
        signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
        for step in range(resumed, params["epochs"] * STEPS):
            if step % STEPS == 0:
                log.info("epoch %d of %d with %s", step // STEPS + 1, params["epochs"], settings)
                save(checkpoint, step)  # what even SIGKILL cannot take
            time.sleep(seconds)
            if stopping:
                save(checkpoint, step + 1)
                log.info("stopped after step %d; the checkpoint is %s", step + 1, checkpoint)
                raise SystemExit(1)
        checkpoint.unlink(missing_ok=True)
        return {"epochs": params["epochs"], "settings": settings, "resumed": resumed}

    train()
