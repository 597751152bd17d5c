"""What the foreground will ask of a pool: many simple forecasters, mixed by how well they did.

The load of a GPU pool is learned in half-hour steps. Some pools follow the office's hours, some
follow nothing but their own last value, and a pool may change from one to the other, so no one
model is right: exponential smoothing without a season, with a daily, a weekday/weekend and a
weekly one (Holt-Winters, additive; their naive forms and persistence are members like any other)
run side by side. For each horizon they are mixed by polynomially weighted averages with
gradients (ML-Poly: Gaillard, Stoltz and van Erven, COLT 2014; used for electricity load), whose
regret against the best fixed mixture is bounded. The less the mixture has beaten persistence of
late, the more persistence is used. Quantiles are those of the mixture's own recent errors.

One step costs some 50 microseconds and so does one forecast; nothing is ever fitted anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slackwater.core.zone import zone as zone_of

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

STEP: Final = timedelta(minutes=30)
"""What the load is learned in: its mean over half an hour."""
LEARNED: Final = timedelta(days=35)
"""History worth asking for at a start: five weeks tell weekdays from weekends."""
LEVELS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Quantiles that a forecast holds."""

_SECONDS: Final = int(STEP.total_seconds())
_DAY: Final = 86_400 // _SECONDS
_WEEK: Final = 7 * _DAY
_HORIZONS: Final = np.array(
    (1, 2, 4, 8, 12, 16, 20, 24, 30, 36, 42, 48, 60, 72, 84, 96), dtype=np.int64
)
_REACH: Final = int(_HORIZONS[-1])
# How many past errors give the quantiles: two weeks.
_ERRORS: Final = 14 * _DAY
# What a mixture remembers of its members fades by half in a month, its own score in two weeks.
_FADE: Final = 0.5 ** (1 / (30 * _DAY))
_SCORE_FADE: Final = 0.5 ** (1 / (14 * _DAY))
# By how much the mixture must be better than persistence to begin to count, and to count alone, in
# standard errors of so many independent looks: on a random walk chance alone makes it look better,
# the more so the farther ahead, as errors of overlapping spans are no independent looks.
_BEGINS: Final = 0.3
_ALONE: Final = 0.65
_MEMORY: Final = 2 / (1 - _SCORE_FADE)
# A mixture is trusted once it was scored for as long as this.
_TRIED: Final = 2 * _DAY

# Rows of the table of seasons: none, the half-hour of the day, the same apart for weekdays and
# weekends, the half-hour of the week.
_NONE, _DAILY, _KIND, _WEEKLY = 0, 1, 1 + _DAY, 1 + 3 * _DAY
_ROWS: Final = _WEEKLY + _WEEK


def _members() -> tuple[IntArray, FloatArray, FloatArray]:
    """Season (column of `_cells`), smoothing of the level, smoothing of the season, per member."""
    found: list[tuple[int, float, float]] = [
        (0, alpha, 0.0) for alpha in (1.0, 0.6, 0.3, 0.1, 0.03, 0.01)
    ]
    for season in (1, 2, 3):
        found.append((season, 0.0, 1.0))  # the last value of this season: seasonal naive
        found.extend(
            (season, alpha, gamma) for alpha in (0.9, 0.3, 0.06, 0.01) for gamma in (0.08, 0.3)
        )
    columns = list(zip(*found, strict=True))
    return (
        np.array(columns[0], dtype=np.int64),
        np.array(columns[1], dtype=np.float64),
        np.array(columns[2], dtype=np.float64),
    )


_SEASON, _ALPHA, _GAMMA = _members()
_COUNT: Final = len(_ALPHA)
_EACH: Final = np.arange(_COUNT)
_PERSISTENCE: Final = (_EACH == 0).astype(np.float64)  # the first member: no season, alpha 1


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The foreground's load of a pool, step by step.

    Attributes:
        start: of the first step, the one that holds the present; whole half-hours.
        median: GPUs, one per step; the first is the present load.
        spread: GPUs to add for each of `LEVELS` (rows) at each step (columns).
        seasonal: whether anything beat persistence; False means that the present is simply kept.
    """

    start: datetime
    median: FloatArray
    spread: FloatArray
    seasonal: bool = False

    def quantile(self, level: float) -> FloatArray:
        """The load that is not exceeded with this probability, GPUs per step, never negative."""
        place = float(np.interp(level, LEVELS, np.arange(len(LEVELS))))
        low = math.floor(place)
        share = place - low
        added = self.spread[low]
        if share:
            added = added * (1 - share) + self.spread[low + 1] * share
        found: FloatArray = np.maximum(self.median + added, 0.0)
        return found

    def __len__(self) -> int:
        return len(self.median)


class Forecaster:
    """Learns the load of one pool, step after step, and says how it goes on.

    What it says is a function of what it was told alone. Steps that nobody saw are left out:
    levels and seasons stay as they were, and nobody is blamed for them.

    Args:
        zone: IANA name of the zone whose hours people keep; seasons follow its wall clock, so
            they stay in place when the clocks change.
    """

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone
        self._cells = _Cells(zone)
        self._last: int | None = None
        self._level = np.zeros(_COUNT)
        self._seen = 0
        self._table = np.zeros((_ROWS, _COUNT))
        self._before = np.zeros((_ROWS, _COUNT))  # the same, without each row's last visit
        self._visits = np.zeros(_ROWS)
        self._visited = np.full(_ROWS, -1, dtype=np.int64)
        self._levels = np.full((_REACH + 1, _COUNT), np.nan)  # ring: after which step
        shape = (len(_HORIZONS), _COUNT)
        self._regret, self._scale = np.zeros(shape), np.full(shape, 1e-12)
        self._weights = np.tile(_PERSISTENCE, (len(_HORIZONS), 1))
        self._score = np.zeros((2, len(_HORIZONS)))  # faded errors: of the mixture, of persistence
        self._scored = np.zeros(len(_HORIZONS))
        self._errors = np.full((_ERRORS, len(_HORIZONS)), np.nan)
        self._spread: FloatArray | None = None

    # --- learning

    @property
    def learned_until(self) -> datetime | None:
        """End of the last step that was learned."""
        return None if self._last is None else _instant(self._last + 1)

    def learn(self, at: datetime, load: float) -> None:
        """Take in the mean load of the step that holds `at`.

        Args:
            at: aware. Steps come in order; one that is not later than the last is left out.
            load: GPUs. What is no finite number counts as not seen.
        """
        self.learn_step(_step(at), load)

    def learn_all(self, points: Iterable[tuple[datetime, float]]) -> None:
        """Take in a history of (instant, GPUs), oldest first; several points of one step are averaged."""
        step, total, count = -1, 0.0, 0
        for at, load in points:
            if not math.isfinite(load):
                continue
            if (found := _step(at)) != step:
                if count:
                    self.learn_step(step, total / count)
                step, total, count = found, 0.0, 0
            total, count = total + load, count + 1
        if count:
            self.learn_step(step, total / count)

    def learn_step(self, step: int, load: float) -> None:
        """The same, by the number of half-hours since 1970."""
        if not math.isfinite(load) or (self._last is not None and step <= self._last):
            return
        load = max(0.0, load)
        rows = self._cells.of(step)[_SEASON]
        season = self._table[rows, _EACH]
        if self._last is not None:
            self._skip_to(step)
            self._judge(step, load, rows, season)
        # A running mean first, so that the first days count in full.
        self._seen += 1
        error = load - self._level - season
        gain = np.maximum(_ALPHA, 1.0 / self._seen) * (_ALPHA > 0)
        self._level = self._level + gain * error
        cells = self._cells.of(step)
        self._visits[cells] += 1
        rate = np.maximum(_GAMMA, 1.0 / (1.0 + self._visits[rows])) * (_GAMMA > 0)
        rate[_GAMMA == 1.0] = 1.0
        self._before[rows, _EACH] = season
        self._table[rows, _EACH] = season + rate * (load - self._level - season)
        self._visited[cells] = step
        self._levels[step % len(self._levels)] = self._level
        self._last = step
        self._spread = None

    def _skip_to(self, step: int) -> None:
        assert self._last is not None
        for missed in range(max(self._last + 1, step - _REACH), step):
            self._levels[missed % len(self._levels)] = self._level
            self._errors[missed % _ERRORS] = np.nan

    def _judge(self, step: int, load: float, rows: IntArray, season: FloatArray) -> None:
        """Compare what each member said of this step, at each horizon, with what came."""
        origins = step - _HORIZONS
        levels = self._levels[origins % len(self._levels)]
        seasons = np.where(
            self._visited[rows] > origins[:, None], self._before[rows, _EACH], season
        )
        said = levels + seasons
        known = np.isfinite(levels[:, 0])
        if not known.all():
            said = np.where(known[:, None], said, load)
        mixed = (self._weights * said).sum(axis=1)
        trust = self._trust()
        used = trust * mixed + (1 - trust) * said[:, 0]
        miss = load - used
        self._errors[step % _ERRORS] = np.where(known, miss, np.nan)
        self._score *= _SCORE_FADE
        self._score[0] += np.abs(load - mixed)
        self._score[1] += np.abs(load - said[:, 0])
        self._scored += known
        # Gradient of the squared error, by how much each member would have mended it.
        gain = (load - mixed)[:, None] * (said - mixed[:, None])
        self._regret = self._regret * _FADE + gain
        self._scale = self._scale * _FADE + gain * gain
        lead = np.maximum(self._regret, 0.0) / self._scale
        total = lead.sum(axis=1, keepdims=True)
        fresh = lead / np.where(total > 0, total, 1.0)
        self._weights = np.where(total > 0, fresh, self._weights)

    def _trust(self) -> FloatArray:
        """How much of the forecast is the mixture's, per horizon; the rest is persistence."""
        ratio = self._score[0] / np.maximum(self._score[1], 1e-12)
        looks = np.clip(self._scored, 1.0, _MEMORY) / _HORIZONS
        doubt = 1.0 / np.sqrt(looks)
        earned: FloatArray = np.clip(
            ((1.0 - ratio) / doubt - _BEGINS) / (_ALONE - _BEGINS), 0.0, 1.0
        )
        known: NDArray[np.bool_] = (self._scored >= _TRIED) & (self._score[1] > 0)
        return np.where(known, earned, 0.0)

    # --- forecasting

    def forecast(self, now: datetime, live: float | None, steps: int) -> Forecast:
        """How the load goes on.

        Args:
            now: the present.
            live: the load now, GPUs; None where it is not known, then the last learned.
            steps: how many half-hours, the one that holds `now` included.

        Returns:
            Zeros where nothing was ever learned and nothing is known now.
        """
        first = _step(now)
        if live is not None and not math.isfinite(live):
            live = None
        if self._last is None:
            held = np.full(steps, max(0.0, live or 0.0))
            return Forecast(_instant(first), held, np.zeros((len(LEVELS), steps)))
        level, origin = self._level, self._last
        rows = self._cells.between(first, steps)
        table = self._table[rows[:, _SEASON], _EACH]
        if live is not None and origin < first:
            # As if the present step were learned already with what is known of it.
            level = level + _ALPHA * (live - level - table[0])
            origin = first
        said = level + table
        trust = self._trust()[:, None]
        weights = trust * self._weights + (1 - trust) * _PERSISTENCE
        share = _shares(max(0, first - origin), steps)
        median = np.maximum((share @ weights * said).sum(axis=1), 0.0)
        if live is not None:
            median[0] = max(0.0, live)
        spread = (share @ self._spreads()).T
        return Forecast(_instant(first), median, spread, bool(trust.any()))

    def _spreads(self) -> FloatArray:
        """Quantiles of recent errors: one row per key horizon, one column per level."""
        if self._spread is None:
            ordered = np.sort(self._errors, axis=0)  # what is not known goes last
            counts = np.isfinite(self._errors).sum(axis=0)
            places = np.outer(LEVELS, np.maximum(counts - 1, 0))
            low = places.astype(np.int64)
            columns = np.arange(len(_HORIZONS))
            below = ordered[low, columns]
            above = ordered[np.minimum(low + 1, np.maximum(counts - 1, 0)), columns]
            found = below + (places - low) * (above - below)
            self._spread = np.where(counts >= _DAY, found, 0.0).T
        return self._spread


_shares_of: dict[tuple[int, int], FloatArray] = {}


def _shares(ahead: int, steps: int) -> FloatArray:
    """How much each key horizon says about each step; `ahead` is the first step's own horizon."""
    key = (min(ahead, _REACH), steps)
    if key not in _shares_of:
        if len(_shares_of) > 256:
            _shares_of.clear()
        horizons = np.clip(np.arange(steps) + key[0], 1, _REACH)
        right = np.clip(np.searchsorted(_HORIZONS, horizons), 1, len(_HORIZONS) - 1)
        low, high = _HORIZONS[right - 1], _HORIZONS[right]
        upper = (horizons - low) / (high - low)
        found = np.zeros((steps, len(_HORIZONS)))
        found[np.arange(steps), right - 1] = 1 - upper
        found[np.arange(steps), right] += upper
        _shares_of[key] = found
    return _shares_of[key]


class _Cells:
    """Rows of the table of seasons that a step belongs to, one per season."""

    def __init__(self, zone: str) -> None:
        self._zone = zone_of(zone)
        self._plain = zone == "UTC"
        self._offsets: dict[int, int] = {}

    def of(self, step: int) -> IntArray:
        return np.asarray(self.between(step, 1)[0])

    def between(self, first: int, steps: int) -> IntArray:
        """Shape (steps, 4)."""
        local = np.arange(first, first + steps, dtype=np.int64)
        if not self._plain:
            local = local + np.array([self._offset(step) for step in local.tolist()])
        in_day = local % _DAY
        day = (local // _DAY + 3) % 7  # 1970 began on a Thursday
        return np.stack(
            (
                np.full(steps, _NONE),
                _DAILY + in_day,
                _KIND + np.where(day >= 5, _DAY, 0) + in_day,
                _WEEKLY + day * _DAY + in_day,
            ),
            axis=1,
        )

    def _offset(self, step: int) -> int:
        """Of the zone, in steps; zones change on whole hours, so one look an hour is enough."""
        hour = step // 2
        if hour not in self._offsets:
            if len(self._offsets) > 4096:
                self._offsets.clear()
            offset = _instant(hour * 2).astimezone(self._zone).utcoffset() or timedelta()
            self._offsets[hour] = offset // STEP
        return self._offsets[hour]


def _step(at: datetime) -> int:
    return math.floor(at.timestamp() / _SECONDS)


def _instant(step: int) -> datetime:
    return datetime.fromtimestamp(step * _SECONDS, UTC)
