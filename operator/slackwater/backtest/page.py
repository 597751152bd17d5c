"""A comparison as a table for a terminal and as one page of HTML with its plots inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from slackwater.backtest.bound import NAME as BOUND
from slackwater.backtest.compare import Comparison, Row
from slackwater.backtest.policies import POLICIES

HEADER: Final = (
    "POLICY",
    "U*",
    "OVER CRON",
    "UTIL",
    "TAX",
    "MISSES",
    "WAIT",
    "P95",
    "SHORT",
    "CONTENTION",
    "FINISH",
    "PREEMPTED",
)
_MEANING: Final = (
    "U*: utilisation at the most training for which the foreground queues at most {tax:.1%} more "
    "(of its own work) and at most {misses:.1%} of the runs miss their deadline. The other columns "
    "are at the training load given above: utilisation, extra queueing of the foreground, missed "
    "deadlines, its wait in minutes (mean, 95th percentile, jobs of 30 minutes at most), share of "
    "the time in which it waits, median hours from release to end, preemptions."
)


def title(found: Comparison) -> str:
    """What was compared, in a line."""
    return (
        f"{found.trace}: {found.capacity} GPUs, {found.days:.0f} days, the foreground alone uses "
        f"{found.alone:.1%}; training of {found.training:.1%} released at {found.release}, "
        f"{found.slack:.0f} h to the deadline, {_count(found.seeds, 'seed')}"
    )


def meaning(found: Comparison) -> str:
    """What the columns are."""
    return _MEANING.format(tax=found.service.tax, misses=found.service.misses)


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    one = row.measures
    best = "-" if row.best is None else f"{row.best:.3f}"
    over = "-" if row.over_cron is None else f"{row.over_cron + 0.0:+.1%}"
    if row.name == BOUND:
        return (
            (row.title, best, over, f"{one['utilization']:.3f}", "-", f"{one['misses']:.2%}")
            + ("-",) * 4
            + (f"{one['finish'] / 60:.1f}", "-")
        )
    return (
        row.title,
        best,
        over,
        f"{one['utilization']:.3f}",
        f"{max(one['tax'], 0):.2%}",
        f"{one['misses']:.2%}",
        f"{one['wait']:.1f}",
        f"{one['wait_p95']:.0f}",
        f"{one['wait_short']:.1f}",
        f"{one['contention']:.1%}",
        f"{one['finish'] / 60:.1f}",
        f"{one['preemptions']:.0f}",
    )


def as_table(found: Comparison) -> str:
    """Columns for a terminal."""
    rows = [HEADER, *(cells(row) for row in found.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADER))]
    lines = [title(found), ""]
    for row in rows:
        name = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((name, *rest)).rstrip())
    if found.left_out:
        lines += ["", f"{_count(found.left_out, 'job')} larger than the pool left out."]
    return "\n".join((*lines, "", meaning(found), ""))


def as_html(found: Comparison) -> str:
    """A page that needs nothing else, light or dark as the reader's screen is."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADER)
    body = "".join(
        f"<tr class='{_kind(row)}'>"
        + "".join(f"<td>{escape(c)}</td>" for c in cells(row))
        + "</tr>"
        for row in found.rows
    )
    plots = [_week(found), _hours(found)]
    if any(row.best is not None for row in found.rows):
        plots.insert(0, _bars(found))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Backtest of {escape(found.trace)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Backtest of {escape(found.trace)}</h1><p>{escape(title(found))}.</p>"
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p class='small'>{escape(meaning(found))}</p>{''.join(plots)}</body></html>\n"
    )


def _kind(row: Row) -> str:
    if row.reference:
        return "reference"
    policy = POLICIES.get(row.name)
    return "ours" if policy is not None and policy.ours else "other"


def _bars(found: Comparison) -> str:
    """U* of each policy beside the bound."""
    rows = [row for row in found.rows if row.best is not None]
    top = max(row.best or 0 for row in rows)
    limit = next((row.best for row in rows if row.name == BOUND), None)
    low = min(found.alone, *(row.best or 0 for row in rows))
    start = max(0.0, low - (top - low) * 0.15)
    scale = 520 / max(1e-9, top - start)
    parts = []
    for number, row in enumerate(rows):
        y = 26 * number
        width = ((row.best or 0) - start) * scale
        parts.append(
            f"<text x='272' y='{y + 17}' text-anchor='end'>{escape(row.title)}</text>"
            f"<rect class='{_kind(row)}' x='280' y='{y + 4}' width='{width:.1f}' height='18'/>"
            f"<text x='{286 + width:.1f}' y='{y + 17}'>{row.best:.3f}</text>"
        )
    height = 26 * len(rows) + 4
    if limit is not None:
        x = 280 + (limit - start) * scale
        parts.append(f"<line class='limit' x1='{x:.1f}' x2='{x:.1f}' y1='0' y2='{height}'/>")
    return _figure(f"U* beside the bound (the axis begins at {start:.2f})", 860, height, parts)


def _week(found: Comparison) -> str:
    """The foreground's mean week, and training on top of it."""
    shown = [row for row in found.rows if row.profile]
    parts = [_axis(found.capacity), _line(found.foreground, found.capacity, "foreground")]
    names = ["<tspan class='foreground'>foreground alone</tspan>"]
    for row in shown:
        total = [a + b for a, b in zip(found.foreground, row.profile, strict=True)]
        style = _kind(row) if row.name in {"cron", "off-peak"} else "faint"
        parts.append(_line(total, found.capacity, style))
        if style != "faint":
            names.append(f"<tspan class='{style}' dx='14'>with {escape(row.title)}</tspan>")
    parts.append(f"<text x='60' y='14'>{''.join(names)}</text>")
    return _figure("Mean load by hour of the week, GPUs", 860, 250, parts)


def _hours(found: Comparison) -> str:
    """When each policy starts runs."""
    rows = [row for row in found.rows if row.hours]
    parts = []
    for number, row in enumerate(rows):
        y = 34 * number
        most = max(*row.hours, 1e-9)
        parts.append(f"<text x='272' y='{y + 26}' text-anchor='end'>{escape(row.title)}</text>")
        for hour, share in enumerate(row.hours):
            high = 26 * share / most
            parts.append(
                f"<rect class='{_kind(row)}' x='{280 + 22 * hour}' y='{y + 30 - high:.1f}' "
                f"width='20' height='{high:.1f}'><title>{hour:02d}:00 {share:.1%}</title></rect>"
            )
    bottom = 34 * len(rows) + 16
    parts += [
        f"<text x='{280 + 22 * hour}' y='{bottom}'>{hour:02d}</text>" for hour in range(0, 24, 3)
    ]
    return _figure("Starts by hour of the day", 860, bottom + 6, parts)


def _line(values: Sequence[float], capacity: int, style: str) -> str:
    step = 780 / max(1, len(values) - 1)
    points = " ".join(
        f"{60 + step * place:.1f},{230 - 200 * min(1.0, value / capacity):.1f}"
        for place, value in enumerate(values)
    )
    return f"<polyline class='{style}' points='{points}'/>"


def _axis(capacity: int) -> str:
    lines = "".join(
        f"<line class='grid' x1='60' x2='840' y1='{230 - 200 * part:.0f}' y2='{230 - 200 * part:.0f}'/>"
        f"<text x='54' y='{234 - 200 * part:.0f}' text-anchor='end'>{capacity * part:.0f}</text>"
        for part in (0, 0.5, 1)
    )
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    return lines + "".join(
        f"<text x='{60 + 780 * place / 7:.0f}' y='247'>{day}</text>"
        for place, day in enumerate(days)
    )


def _figure(name: str, width: int, height: int, parts: Iterable[str]) -> str:
    return (
        f"<h2>{escape(name)}</h2><div class='wide'><svg role='img' aria-label='{escape(name)}' "
        f"viewBox='0 0 {width} {height}' width='{width}' height='{height}'>{''.join(parts)}</svg></div>"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2733;--paper:#fff;--faint:#8895a3;--ours:#0b7285;--other:#748ffc;
--reference:#adb5bd;--grid:#e3e8ee;--limit:#c92a2a}
@media (prefers-color-scheme:dark){:root{--ink:#dde5ee;--paper:#10161d;--faint:#7b8894;--ours:#3bc9db;
--other:#5c7cfa;--reference:#5c6670;--grid:#26303a;--limit:#ff8787}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.ours td{font-weight:600}tr.reference td{color:var(--faint)}
.small{font-size:13px;color:var(--faint)}svg text{fill:var(--ink);font:12px system-ui,sans-serif}
rect.ours{fill:var(--ours)}rect.other{fill:var(--other)}rect.reference{fill:var(--reference)}
polyline{fill:none;stroke-width:1.5}polyline.foreground{stroke:var(--faint);stroke-dasharray:4 3}
polyline.ours{stroke:var(--ours);stroke-width:2}polyline.other{stroke:var(--other);stroke-width:2}
polyline.faint{stroke:var(--grid)}svg tspan.ours{fill:var(--ours)}svg tspan.other{fill:var(--other)}
svg tspan.foreground{fill:var(--faint)}line.grid{stroke:var(--grid)}
line.limit{stroke:var(--limit);stroke-dasharray:4 3}
"""
