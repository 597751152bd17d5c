"""The forecast beside persistence and statsforecast's AutoETS, MSTL and seasonal naive.

Over the next 48 hours, in mean absolute error and in pinball loss: never worse than persistence by
more than 2 %; over all series together within 5 % of whichever of the others is best on each, and on
no series more than 15 % behind it (six moments of one series say no more, and the best is chosen
after the fact). Run with `-s` to see the figures.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slackwater.core.forecast import STEP, Forecaster
from testbed import pythons

from .series import TRACES, WEEK, synthetic, traced, walks

pytestmark = pytest.mark.server  # no server, but an environment of its own and minutes

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HOURS = 48
ORIGINS = 6
MANY = 150
LEVELS = (0.1, 0.5, 0.9)
Said = dict[float, NDArray[np.float64]]


def origins(load: NDArray[np.float64], count: int = ORIGINS) -> list[int]:
    """Hours at which a forecast is made: after four weeks (or half), at all times of the day."""
    hours = len(load) // 2
    first = min(4 * WEEK // 2, hours // 2)
    return [int(at) for at in np.linspace(first, hours - HOURS - 1, count)]


def hourly(load: NDArray[np.float64]) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = load[: len(load) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return whole


def ours(load: NDArray[np.float64], count: int = ORIGINS) -> Said:
    forecaster, wanted = Forecaster(), origins(load, count)
    found: dict[float, list[Any]] = {level: [] for level in LEVELS}
    for step, value in enumerate(load):
        forecaster.learn(MONDAY + step * STEP, float(value))
        if step % 2 and (step + 1) // 2 in wanted:
            said = forecaster.forecast(MONDAY + (step + 1) * STEP, None, 2 * HOURS)
            for level in LEVELS:
                of = said.median if level == 0.5 else said.quantile(level)
                found[level].append(hourly(of))
    return {level: np.array(values) for level, values in found.items()}


def losses(load: NDArray[np.float64], said: Said, count: int = ORIGINS) -> tuple[float, float]:
    """Mean absolute error and mean pinball loss over all origins and hours, in GPUs."""
    series = hourly(load)
    came = np.array([series[at : at + HOURS] for at in origins(load, count)])
    miss = {level: came - said[level] for level in LEVELS}
    pinball = [np.maximum(q * miss[q], (q - 1) * miss[q]).mean() for q in LEVELS]
    return float(np.abs(miss[0.5]).mean()), float(np.mean(pinball))


def persistence(load: NDArray[np.float64], count: int = ORIGINS) -> float:
    found = []
    for at in origins(load, count):
        kept = load[2 * at - 1]
        found.append(np.abs(hourly(load)[at : at + HOURS] - kept).mean())
    return float(np.mean(found))


SYNTHETIC = synthetic()
NAMES = sorted([*SYNTHETIC, "philly", "helios_venus"])


@pytest.fixture(scope="module")
def loads() -> dict[str, NDArray[np.float64]]:
    return {**SYNTHETIC, **traced()}


def the(name: str, loads: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    if name not in loads:
        pytest.skip(f"no trace {name} in {TRACES}: see docs/off-peak.md")
    return loads[name]


def test_it_is_no_worse_than_persistence_on_random_walks() -> None:
    """Over several: on a single one chance may favour any of the two by some percent."""
    error = kept = 0.0
    for load in walks(5):
        error += losses(load, ours(load, MANY), MANY)[0]
        kept += persistence(load, MANY)
    print(f"\nrandom walks: ours {error / 5:.2f}, persistence {kept / 5:.2f}")
    assert error <= 1.02 * kept


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random walk"])
def test_it_is_no_worse_than_persistence(name: str, loads: dict[str, NDArray[np.float64]]) -> None:
    load = the(name, loads)
    error = losses(load, ours(load, MANY), MANY)[0]
    kept = persistence(load, MANY)
    print(f"\n{name}: ours {error:.2f}, persistence {kept:.2f}")
    assert error <= 1.02 * kept + 1e-9


@pytest.fixture(scope="module")
def reference(loads: dict[str, NDArray[np.float64]]) -> dict[str, dict[str, Said]]:
    uv = str(pythons.uv())
    asked = {
        "series": {name: hourly(load).tolist() for name, load in loads.items()},
        "origins": {name: origins(load) for name, load in loads.items()},
        "horizon": HOURS,
    }
    script = Path(__file__).with_name("reference.py")
    made = subprocess.run(
        [uv, "run", "--no-project", "--with", "statsforecast==2.0.3", "python", str(script)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return {
        name: {
            model: {float(level): np.array(values) for level, values in levels.items()}
            for model, levels in models.items()
        }
        for name, models in json.loads(made.stdout).items()
    }


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_near_the_best_of_statsforecast(
    name: str,
    loads: dict[str, NDArray[np.float64]],
    reference: dict[str, dict[str, Said]],
) -> None:
    load = the(name, loads)
    found = losses(load, ours(load))
    others = {model: losses(load, said) for model, said in reference[name].items()}
    print(f"\n{name}: ours {found[0]:.2f} {found[1]:.2f}, persistence {persistence(load):.2f}")
    for model, (error, pinball) in others.items():
        print(f"  {model}: {error:.2f} {pinball:.2f}")
    tiny = 1e-6 * (1 + float(load.mean()))
    assert found[0] <= 1.15 * min(error for error, _ in others.values()) + tiny
    assert found[1] <= 1.15 * min(pinball for _, pinball in others.values()) + tiny


@pytest.mark.timeout(1200)
def test_over_all_series_it_is_within_a_twentieth_of_the_best_of_each(
    loads: dict[str, NDArray[np.float64]], reference: dict[str, dict[str, Said]]
) -> None:
    shares: list[list[float]] = [[], []]
    for name, load in loads.items():
        found = losses(load, ours(load))
        for kind, share in enumerate(shares):
            best = min(losses(load, said)[kind] for said in reference[name].values())
            if best > 1e-9:
                share.append(found[kind] / best)
    means = [float(np.exp(np.mean(np.log(share)))) for share in shares]
    print(f"\nours to the best of each series: error {means[0]:.3f}, pinball {means[1]:.3f}")
    assert max(means) <= 1.05
