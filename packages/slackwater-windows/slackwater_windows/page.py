"""The tide table: the windows document as one HTML page.

Seven days of windows, what cuts them, what the pools carry, what each window waits for and the last
runs. The page has no script and loads nothing; details open with the keyboard as with the mouse.
It shows no parameters: they may be meant for the run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Final
from urllib.parse import urlencode

from slackwater_windows import chart
from slackwater_windows.chart import escaped
from slackwater_windows.document import FINAL_STATES, Document, Occurrence, Pool, Window
from slackwater_windows.style import CSS
from slackwater_windows.times import Face, lasting, usual_zone

DAYS: Final = 7
MAX_DETAILS: Final = 25
LAST_RUNS: Final = 12
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%230b7285'/%3E%3C/svg%3E"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a reader asked for.

    Attributes:
        query: only windows whose namespace, name or DAG contain it, in any case.
        dag_id: only windows of this DAG; then there is nothing to search for.
        zone: IANA name; that of most windows where it is empty.
        links: (words, address) for the foot of the page.
        note: a sentence on top, where something about the whole page must be known.
    """

    query: str = ""
    dag_id: str = ""
    zone: str = ""
    links: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @classmethod
    def asked(cls, parameters: Mapping[str, str]) -> View:
        """What the query string of a request asks for; other parameters mean nothing."""
        return cls(
            query=parameters.get("q", "")[:200],
            dag_id=parameters.get("dag_id", "")[:250],
            zone=parameters.get("zone", "")[:64],
        )


def render(document: Document, now: datetime, view: View | None = None) -> str:
    """The page.

    Args:
        document: what is shown; for a reader who may not see everything, what he may.
        now: the present.
        view: what was asked for.
    """
    view = view or View()
    windows = [window for window in document.windows if _wanted(window, view)]
    usual = usual_zone(window.time_zone for window in document.windows)
    face = Face(view.zone or usual, now)
    named = {window.pool for window in windows}
    narrowed = bool(view.query or view.dag_id)
    pools = [pool for pool in document.pools if not narrowed or pool.name in named]
    parts = [
        _head(document, face, view, usual),
        f'<main id="main">{_note(view, document)}',
        _tiles(windows, pools, face),
        _pools(pools, face),
        _open_now(windows, face),
        _week(windows, face, view),
        _last_runs(windows, face),
        "</main>",
        _foot(view),
    ]
    return "".join(parts)


def _wanted(window: Window, view: View) -> bool:
    if view.dag_id and window.dag_id != view.dag_id:
        return False
    needle = view.query.strip().casefold()
    return needle in f"{window.ref} {window.dag_id}".casefold()


def _head(document: Document, face: Face, view: View, usual: str) -> str:
    search = "" if view.dag_id else _search(face, view, usual)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>Tide table - Slackwater</title><link rel="icon" href="{_ICON}">'
        f"<style>{CSS}</style></head><body>"
        f'<a class="skip" href="#week">Skip to the seven days</a>{chart.PATTERNS}'
        f"<header>{chart.MARK}<div><h1>Slackwater <span>tide table</span></h1>"
        f'<p class="asof">As of <time datetime="{document.written_at.isoformat()}">'
        f"{face.both(document.written_at)}</time> {escape(face.name)}</p></div>{search}</header>"
    )


def _search(face: Face, view: View, usual: str) -> str:
    zones = dict.fromkeys((usual, "UTC"))
    links = [
        f"<b>{escape(name)}</b>"
        if name == face.name
        else f'<a href="?{escape(_query(replace(view, zone=name)))}">{escape(name)}</a>'
        for name in zones
    ]
    hidden = f'<input type="hidden" name="zone" value="{escape(view.zone)}">' if view.zone else ""
    return (
        f'<form role="search"><span class="zones">{"".join(links)}</span>{hidden}'
        f'<input type="search" name="q" value="{escape(view.query)}" maxlength="200" '
        'placeholder="Name or DAG" aria-label="Show only windows whose namespace, '
        'name or DAG contains"><button>Show</button></form>'
    )


def _query(view: View) -> str:
    given = {"q": view.query, "zone": view.zone}
    return urlencode({name: value for name, value in given.items() if value})


def _note(view: View, document: Document) -> str:
    notes = [escape(view.note)] if view.note else []
    if document.omitted:
        notes.append(
            f"{document.omitted} windows are left out, as the windows file has a limited size."
        )
    return "".join(f'<p class="warn" role="status">{note}</p>' for note in notes)


# --- sections ----------------------------------------------------------------------------------


def _tiles(windows: list[Window], pools: list[Pool], face: Face) -> str:
    states = [occurrence.state for window in windows for occurrence in window.occurrences]
    waiting = states.count("Waiting")
    running = sum(states.count(state) for state in ("Intended", "Triggered", "Running"))
    upcoming = [
        occurrence.start
        for window in windows
        for occurrence in window.occurrences
        if occurrence.state == "Planned" and occurrence.start > face.now and occurrence.openings
    ]
    following = min(upcoming, default=None)
    ahead = (lasting(following - face.now), "until the next window") if following else None
    tiles = [
        (str(running), "running now"),
        (str(waiting), f"waiting for {'its' if waiting == 1 else 'their'} moment"),
        ahead or ("none", "no window ahead"),
    ]
    measured = [pool for pool in pools if pool.capacity is not None]
    if measured:
        free = sum(max(0, (pool.free or 0) - pool.promised) for pool in measured)
        capacity = sum(pool.capacity or 0 for pool in measured)
        tiles.append((str(free), f"of {capacity} GPUs free"))
    cells = "".join(
        f'<div class="card tile"><b>{escape(number)}</b><span>{words}</span></div>'
        for number, words in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _pools(pools: list[Pool], face: Face) -> str:
    if not pools:
        return ""
    return f'<h2>GPU pools</h2><div class="pools">{"".join(_pool(p, face) for p in pools)}</div>'


def _pool(pool: Pool, face: Face) -> str:
    if pool.capacity is None:
        numbers = '<p class="big">not read yet</p>'
    else:
        promised = f", {pool.promised} promised" if pool.promised else ""
        numbers = f'<p class="big">{pool.free} of {pool.capacity} free{promised}</p>'
    said = []
    if pool.utilization_percent is not None:
        said.append(f"{pool.utilization_percent:.0f} % busy")
    if pool.sample_time is not None:
        said.append(f"measured {face.time(pool.sample_time)}")
    warning = f'<p class="warn">{escape(pool.message)}</p>' if pool.message else ""
    tide = chart.tide(pool, face.now)
    if not tide and pool.utilization_percent is not None:
        said.append("no load of the last day yet")
    return (
        f'<div class="card pool"><h3>{escape(pool.name)}</h3>{numbers}'
        f"<p>{escape(' - '.join(said))}</p>{warning}{chart.stock(pool)}{tide or '<p></p>'}</div>"
    )


def _open_now(windows: list[Window], face: Face) -> str:
    items = []
    for window in windows:
        for occurrence in window.occurrences:
            if not chart.is_now(occurrence):
                continue
            until = occurrence.cancel_time or occurrence.until
            left = until - face.now
            ends = f"until {face.time(until)}, {lasting(left)} left"
            if left <= timedelta():
                ends = f"window ended {face.time(until)}"
            elif occurrence.coming_start is not None:
                ends = f"planned for {face.time(occurrence.coming_start)}, {ends}"
            items.append(
                f"<li>{_state(occurrence.state)}<div><b>{escape(window.ref)}</b> "
                f'<span class="dag">{escape(window.dag_id)}</span><br>{escape(window.message)}'
                f"</div><small>{ends}</small></li>"
            )
    if not items:
        return ""
    return f'<h2>Now</h2><ul class="now card">{"".join(items)}</ul>'


def _week(windows: list[Window], face: Face, view: View) -> str:
    axis = chart.Axis(face.midnights(DAYS))
    if not windows:
        words = "No TrainingWindow"
        words += " matches." if view.query else " triggers this DAG." if view.dag_id else " yet."
        return f'<h2 id="week">Seven days</h2><p class="card empty">{words}</p>'
    # The tab of one DAG is there to be read, not to be searched.
    opened = bool(view.dag_id) and len(windows) == 1
    rows = "".join(_row(window, face, axis, opened=opened) for window in windows)
    return (
        f'<h2 id="week">Seven days</h2><div class="days"><span>{escape(face.name)}</span>'
        f"{chart.day_labels(face, axis)}</div>{axis.definitions(face.now)}"
        f'<div class="rows">{rows}</div>{_LEGEND}'
    )


_LEGEND: Final = (
    '<p class="legend">'
    + "".join(
        f'<span><svg width="{width}" height="10" aria-hidden="true"><rect class="{name}" '
        f'width="{width}" height="10" rx="{rx}"/></svg>{words}</span>'
        for name, words, width, rx in (
            ("p", "planned", 16, 2),
            ("w", "open, waiting", 16, 2),
            ("plan", "planned start", 3, 1),
            ("r", "running", 16, 2),
            ("s", "succeeded", 16, 2),
            ("f", "failed", 16, 2),
            ("g", "missed, skipped or cancelled", 16, 2),
            ("cut", "cut away", 16, 2),
        )
    )
    + "</p>"
)


def _row(window: Window, face: Face, axis: chart.Axis, *, opened: bool) -> str:
    return (
        f"<details{' open' if opened else ''}><summary>"
        f'<span class="who"><b>{escape(window.name)}</b> '
        f'<span class="dag">{escape(window.namespace)}</span>'
        f"<small>{escape(_why(window))}</small></span>"
        f"{chart.strip(window, face, axis)}</summary>{_body(window, face)}</details>"
    )


def _why(window: Window) -> str:
    return "Suspended." if window.suspended and not window.message else window.message


def _body(window: Window, face: Face) -> str:
    facts = [("DAG", window.dag_id), ("Airflow", window.airflow), ("Zone", window.time_zone)]
    if window.pool is not None:
        pods = f" in pods of {window.per_pod}" if window.per_pod > 1 else ""
        facts.append(("GPUs", f"{window.gpus}{pods} of {window.pool}"))
    if window.suspended:
        facts.append(("Suspended", "yes"))
    listed = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts if v)
    shown = _nearest(window.occurrences, face.now)
    rows = "".join(_occurrence(occurrence, face) for occurrence in shown)
    warn = "" if window.ready else ' class="warn"'
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col">Window</th><th scope="col">State'
        '</th><th scope="col">Why</th><th scope="col">Cut by</th><th scope="col">Run</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )
    return (
        f'<div class="body"><p{warn}>{escape(_why(window))}</p><dl class="facts">{listed}</dl>'
        f"{table if rows else ''}</div>"
    )


def _nearest(occurrences: Iterable[Occurrence], now: datetime) -> list[Occurrence]:
    near = list(occurrences)
    if len(near) <= MAX_DETAILS:
        return near
    near = sorted(near, key=lambda o: abs(o.start - now))[:MAX_DETAILS]
    return sorted(near, key=lambda o: (o.start, o.id))


_WIDE: Final = ' class="cuts"'


def _occurrence(occurrence: Occurrence, face: Face) -> str:
    openings = occurrence.openings
    when = "<br>".join(face.span(start, end) for start, end in openings)
    if not openings:
        when = f"{face.both(occurrence.start)} (nothing is left of it)"
    if occurrence.coming_start is not None:
        when += f"<br>planned for {face.both(occurrence.coming_start)}"
    cuts = "<br>".join(
        f"{escaped(cut.entry) or 'outside every Allow'} {face.time(cut.start)} - {face.time(cut.end)}"
        for cut in occurrence.cuts
    )
    why = escaped(occurrence.reason)
    for waited in occurrence.waited:
        why += f"<br>{escaped(waited.reason)} {lasting(timedelta(seconds=waited.seconds))}"
    if occurrence.parameters_error:
        why += f"<br>parameters: {escape(occurrence.parameters_error)}"
    run = ""
    if occurrence.dag_run_id:
        run = f"<code>{escape(occurrence.dag_run_id)}</code>"
        if length := _length(occurrence):
            run += f"<br>{length}"
    return (
        f'<tr><td class="when">{when}</td><td>{_state(occurrence.state)}</td>'
        f"<td>{why}</td><td{cuts and _WIDE}>{cuts}</td><td>{run}</td></tr>"
    )


def _last_runs(windows: list[Window], face: Face) -> str:
    ended = [
        (occurrence.end_time, window, occurrence)
        for window in windows
        for occurrence in window.occurrences
        if occurrence.end_time and occurrence.state in FINAL_STATES
    ]
    if not ended:
        return ""
    ended.sort(key=lambda row: row[0], reverse=True)
    rows = "".join(
        f'<tr><td class="when">{face.both(at)}</td><td>{_state(occurrence.state)}</td>'
        f"<td>{escape(window.ref)}</td><td>{escape(window.dag_id)}</td>"
        f"<td>{_length(occurrence)}</td><td>{escape(occurrence.reason)}</td></tr>"
        for at, window, occurrence in ended[:LAST_RUNS]
    )
    return (
        '<h2>Last runs</h2><div class="table scroll"><table><thead><tr><th scope="col">Ended</th>'
        '<th scope="col">State</th><th scope="col">Window</th><th scope="col">DAG</th>'
        '<th scope="col">Ran</th><th scope="col">Why</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _length(occurrence: Occurrence) -> str:
    if occurrence.start_time is None or occurrence.end_time is None:
        return ""
    return lasting(occurrence.end_time - occurrence.start_time)


@lru_cache(maxsize=256)
def _state(state: str) -> str:
    return f'<span class="state {chart.state_class(state)}"><i></i>{escape(state)}</span>'


def _foot(view: View) -> str:
    links = "".join(
        f'<a href="{escape(address)}">{escape(words)}</a>' for words, address in view.links
    )
    return f"<footer>{links}</footer></body></html>"
