"""The forecast of a pool's foreground load (R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.forecast import LEVELS, STEP, Forecast, Forecaster

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY = 48
WEEK = 7 * DAY


def learned(load, zone: str = "UTC", start: datetime = MONDAY) -> Forecaster:
    found = Forecaster(zone)
    for number, value in enumerate(load):
        found.learn(start + number * STEP, float(value))
    return found


def ahead(load, steps: int = 2 * DAY, **changes) -> Forecast:
    start = changes.get("start", MONDAY)
    return learned(load, **changes).forecast(start + len(load) * STEP, None, steps)


def daily(steps: int, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    hours = np.arange(steps) % DAY / 2
    wave = 400 + 200 * np.sin(hours / 24 * 2 * math.pi)
    return wave + np.random.default_rng(seed).normal(0, noise, steps) if noise else wave


def office(steps: int, noise: float = 5.0) -> np.ndarray:
    """Busy from 8 to 20 on weekdays, quiet at night and on weekends."""
    number = np.arange(steps)
    hour, day = number % DAY / 2, number // DAY % 7
    busy = (hour >= 8) & (hour < 20) & (day < 5)
    return np.where(busy, 300, 60) + np.random.default_rng(2).normal(0, noise, steps)


def errors(load: np.ndarray, first: int, every: int = 13, steps: int = DAY) -> tuple[float, float]:
    """Mean absolute error of the forecast and of persistence, over many origins."""
    forecaster, ours, kept = Forecaster(), [], []
    for number, value in enumerate(load):
        forecaster.learn(MONDAY + number * STEP, float(value))
        if number >= first and number % every == 0 and number + steps < len(load):
            came = load[number + 1 : number + 1 + steps]
            said = forecaster.forecast(MONDAY + (number + 1) * STEP, None, steps).median
            ours.append(np.abs(came - said).mean())
            kept.append(np.abs(came - value).mean())
    return float(np.mean(ours)), float(np.mean(kept))


# --- what is learned


def test_a_daily_wave_is_learned_within_a_week():
    found = ahead(daily(WEEK, 20))
    assert np.abs(found.median - daily(WEEK + 2 * DAY)[WEEK:]).mean() < 25
    assert found.seasonal


def test_weekends_are_told_from_weekdays():
    load = office(5 * WEEK)
    friday_evening = 4 * WEEK + 4 * DAY + 44
    found = ahead(load[:friday_evening], 3 * DAY)
    now = MONDAY + friday_evening * STEP
    assert now.strftime("%A %H") == "Friday 22"
    came = office(6 * WEEK, noise=0.0)[friday_evening : friday_evening + 3 * DAY]
    assert np.abs(found.median - came).mean() < 25
    saturday_noon = found.median[4 + 24]
    assert saturday_noon < 90


def test_noise_around_a_level_is_averaged_and_not_followed():
    rng = np.random.default_rng(3)
    ours, kept = errors(500 + rng.normal(0, 60, 4 * WEEK), 2 * WEEK)
    assert ours < 0.75 * kept


def test_a_random_walk_is_kept_as_it_is():
    rng = np.random.default_rng(4)
    ours, kept = errors(2000 + np.cumsum(rng.normal(0, 10, 5 * WEEK)), 2 * WEEK)
    assert ours <= 1.02 * kept


def test_load_that_doubles_with_the_capacity_is_followed_within_days():
    load = daily(5 * WEEK, 20) * np.where(np.arange(5 * WEEK) < 3 * WEEK, 1, 2)
    ours, kept = errors(load, 3 * WEEK + 3 * DAY)
    assert ours < 0.5 * kept


def test_the_hours_of_the_zone_stay_in_place_when_the_clocks_change():
    zone, start = "Europe/Berlin", datetime(2026, 3, 2, tzinfo=UTC)
    steps = 4 * WEEK + DAY  # the clocks go forward on 29 March, in the last night
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)

    def load(at: datetime) -> float:
        local = at + timedelta(hours=2 if at >= change else 1)
        return 300.0 if 8 <= local.hour < 20 else 60.0

    series = [load(start + n * STEP) for n in range(steps)]
    found = ahead(series, DAY, zone=zone, start=start)
    came = [load(start + (steps + n) * STEP) for n in range(DAY)]
    assert np.abs(found.median - came).mean() < 5
    plain = ahead(series, DAY, zone="UTC", start=start)
    assert np.abs(plain.median - came).mean() > np.abs(found.median - came).mean()


# --- what is missing or wrong


def test_with_nothing_learned_the_present_is_kept():
    found = Forecaster().forecast(MONDAY, 17.0, 5)
    assert found.median.tolist() == [17.0] * 5
    assert not found.seasonal
    assert Forecaster().forecast(MONDAY, None, 3).median.tolist() == [0.0] * 3


def test_one_day_only_is_no_reason_to_expect_it_again():
    found = ahead(daily(DAY))
    assert not found.seasonal
    assert np.isfinite(found.median).all()


@pytest.mark.parametrize("value", [0.0, 128.0])
def test_a_flat_load_stays_flat(value):
    found = ahead([value] * (2 * WEEK))
    assert found.median == pytest.approx([value] * (2 * DAY))
    assert found.quantile(0.9) == pytest.approx([value] * (2 * DAY))


def test_a_week_of_outage_forgets_nothing():
    load = daily(3 * WEEK)
    forecaster = learned(load[: 2 * WEEK])
    back = MONDAY + 3 * WEEK * STEP
    forecaster.learn(back, float(load[0]))
    found = forecaster.forecast(back + STEP, None, DAY)
    assert np.abs(found.median - daily(3 * WEEK + 1 + DAY)[3 * WEEK + 1 :]).mean() < 40


def test_gaps_and_what_is_no_number_are_left_out():
    load = daily(3 * WEEK, 10)
    rng = np.random.default_rng(5)
    holes = load.copy()
    holes[rng.random(len(load)) < 0.3] = np.nan
    holes[100], holes[200] = np.inf, -np.inf
    whole, torn = ahead(load), ahead(holes)
    assert np.abs(whole.median - torn.median).mean() < 30


def test_what_comes_late_or_twice_is_left_out():
    forecaster = learned(daily(WEEK))
    before = forecaster.forecast(MONDAY + WEEK * STEP, None, DAY).median
    forecaster.learn(MONDAY, 1e6)
    forecaster.learn(MONDAY + (WEEK - 1) * STEP, 1e6)
    assert forecaster.forecast(MONDAY + WEEK * STEP, None, DAY).median.tolist() == before.tolist()


def test_several_points_of_one_step_are_averaged():
    one, many = Forecaster(), Forecaster()
    one.learn(MONDAY, 30.0)
    minute = timedelta(minutes=1)
    many.learn_all([(MONDAY, 20.0), (MONDAY + minute, math.nan), (MONDAY + 2 * minute, 40.0)])
    now = MONDAY + STEP
    assert many.forecast(now, None, 4).median.tolist() == one.forecast(now, None, 4).median.tolist()
    assert many.learned_until == now


# --- quantiles and the present


def test_quantiles_hold_about_as_often_as_they_say():
    load = daily(6 * WEEK, 30)
    forecaster, below = Forecaster(), []
    for number, value in enumerate(load):
        forecaster.learn(MONDAY + number * STEP, float(value))
        if number > 3 * WEEK and number % 7 == 0 and number + DAY < len(load):
            said = forecaster.forecast(MONDAY + (number + 1) * STEP, None, DAY).quantile(0.9)
            below.append((load[number + 1 : number + 1 + DAY] <= said).mean())
    assert 0.85 <= np.mean(below) <= 0.95


def test_the_first_step_is_the_present_load():
    forecaster = learned(daily(2 * WEEK, 10))
    found = forecaster.forecast(MONDAY + 2 * WEEK * STEP + timedelta(minutes=10), 777.0, 4)
    assert found.median[0] == 777.0
    assert found.start == MONDAY + 2 * WEEK * STEP


loads = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1000), st.just(0.0)),
    max_size=150,
)


@settings(max_examples=25, deadline=None)
@given(loads, st.one_of(st.none(), st.floats()), st.integers(0, 2000))
def test_whatever_is_learned_the_forecast_is_finite_ordered_and_never_negative(load, live, later):
    bounded = [value if not math.isfinite(value) else max(-1e9, min(1e9, value)) for value in load]
    if live is not None and math.isfinite(live):
        live = max(-1e9, min(1e9, live))
    forecaster = learned(bounded)
    found = forecaster.forecast(MONDAY + (len(load) + later) * STEP, live, 60)
    assert len(found) == 60
    assert np.isfinite(found.median).all()
    assert (found.median >= 0).all()
    ordered = np.stack([found.quantile(level) for level in LEVELS])
    assert np.isfinite(ordered).all()
    assert (np.diff(ordered, axis=0) >= -1e-6 * (1 + np.abs(ordered[:-1]))).all()


def test_the_same_history_gives_the_same_forecast():
    load = daily(WEEK, 25)
    assert ahead(load).median.tolist() == ahead(load).median.tolist()
