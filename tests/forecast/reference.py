"""What statsforecast says of series, in an environment of its own: `uv run --with statsforecast`.

Reads a JSON document {series: {name: [hourly values]}, origins: {name: [hours]}, horizon} from
standard input; writes {name: {model: {level: [[values per hour] per origin]}}} for the levels
0.1, 0.5 and 0.9. Run by test_against_statsforecast.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

HISTORY = 28 * 24  # hours: more makes the models slower and, on these series, no better


def main() -> None:
    warnings.simplefilter("ignore")
    from statsforecast.models import MSTL, AutoETS, SeasonalNaive

    asked = json.load(sys.stdin)
    horizon = asked["horizon"]
    found: dict[str, dict[str, dict[str, list[list[float]]]]] = {}
    for name, values in asked["series"].items():
        series = np.array(values)
        models = {
            "AutoETS": lambda: AutoETS(season_length=24),
            "MSTL": lambda: MSTL(season_length=[24, 168], trend_forecaster=AutoETS(model="ZZN")),
            "SeasonalNaive24": lambda: SeasonalNaive(season_length=24),
            "SeasonalNaive168": lambda: SeasonalNaive(season_length=168),
        }
        found[name] = {}
        for model, make in models.items():
            levels: dict[str, list[list[float]]] = {"0.1": [], "0.5": [], "0.9": []}
            for origin in asked["origins"][name]:
                said = make().forecast(
                    y=series[max(0, origin - HISTORY) : origin], h=horizon, level=[80]
                )
                for level, key in (("0.1", "lo-80"), ("0.5", "mean"), ("0.9", "hi-80")):
                    levels[level].append([float(value) for value in np.asarray(said[key])])
            found[name][model] = levels
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
