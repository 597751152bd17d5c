"""An explanation as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from slackwater.api.status import write_instant as wire_instant
from slackwater.cli.account import Account, phrase, remedies
from slackwater.cli.plan_text import cutter
from slackwater.cli.reading import Screen, columns, paragraph, write_instant, write_span
from slackwater.core.report import sentence
from slackwater.core.seen import Trouble
from slackwater.core.spec import Ref, TrainingWindow
from slackwater.core.status import Status, Truth
from slackwater.core.words import Reason, say
from slackwater.core.zone import zone

_HEADINGS: Final = ("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")


_UNSERVED: Final = (
    "Start the operator or `slackwater run`; if one has run, name where its state is (--data DIR)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a TrainingWindow does or does not run.

    Attributes:
        ref: which one.
        spec: what its user wants; None where that cannot be read.
        status: what was last recorded.
        config: why its spec cannot be used.
        account: the occurrence that this is about; None where there is none.
        past: the occurrence was asked for by its time, so what holds now is beside the point.
    """

    ref: Ref
    spec: TrainingWindow | None
    status: Status
    config: Trouble | None
    account: Account | None
    past: bool

    @property
    def time_zone(self) -> str:
        """Of all times."""
        return self.spec.time_zone if self.spec else "UTC"

    def message(self) -> str | None:
        """What the TrainingWindow says of itself now."""
        if self.config is not None:
            return sentence(self.config.reason, self.config.gaps, self.time_zone)
        if self.status.message:
            return self.status.message
        if self.account is not None and self.account.line is None:
            return None
        return say(Reason.NOT_READ_YET, what=f"The status of TrainingWindow {self.ref}")

    def paragraph(self) -> str:
        """The whole in one paragraph."""
        parts = []
        message = None if self.past and self.account is not None else self.message()
        if message:
            parts.append(message)
        if self.account is not None:
            span = self.account.span
            when = f"{write_span(span, zone(self.time_zone))}: " if span else ""
            parts.append(f"{when}{self.account.paragraph(message)}")
        return " ".join(parts)

    def what_would_change_it(self) -> tuple[str, ...]:
        """Remedies, of the occurrence first, and of what stands in the way now."""
        reasons: list[Reason] = [self.config.reason] if self.config is not None else []
        found = list(remedies(reasons))
        if self.account is not None:
            found += self.account.remedies()
        if not self.past:
            found += remedies(
                condition.reason
                for condition in self.status.conditions
                if condition.status is not Truth.TRUE
            )
            if self.config is None and not self.status.conditions:
                found.append(_UNSERVED)
        return tuple(dict.fromkeys(found))

    # --- text

    def lines(self, screen: Screen) -> Iterator[str]:
        """For people."""
        where = zone(self.time_zone)
        told = f"   times in {self.time_zone}"
        yield screen.bold(str(self.ref)) + told
        yield from paragraph(self.paragraph(), screen.width)
        if self.status.conditions:
            yield ""
            rows = [_HEADINGS] + [
                (
                    condition.type,
                    condition.status.value,
                    condition.reason.value,
                    write_instant(condition.last_transition_time, where),
                    condition.message,
                )
                for condition in self.status.conditions
            ]
            lines = columns(rows, screen.width)
            yield screen.bold(next(lines))
            yield from lines
        remedies_found = self.what_would_change_it()
        if remedies_found:
            yield ""
            yield screen.bold("What would change it:")
            for text in remedies_found:
                yield from paragraph(text, screen.width, "  ")

    # --- JSON

    def as_json(self) -> dict[str, Any]:
        """For programs; times in UTC."""
        return {
            "trainingWindow": str(self.ref),
            "paragraph": self.paragraph(),
            "message": self.message(),
            "occurrence": None if self.account is None else _occurrence(self.account),
            "conditions": [
                {
                    "type": condition.type,
                    "status": condition.status.value,
                    "reason": condition.reason.value,
                    "message": condition.message,
                    "lastTransitionTime": wire_instant(condition.last_transition_time),
                }
                for condition in self.status.conditions
            ],
            "remedies": list(self.what_would_change_it()),
        }


def _occurrence(account: Account) -> dict[str, Any]:
    line, span = account.line, account.span
    wire: dict[str, Any] = {
        "id": account.key,
        "entry": account.entry,
        "recorded": line is not None,
        "state": account.state.value,
    }
    if line is not None:
        wire["reason"] = line.reason.value
    if span is not None:
        wire["start"], wire["end"] = wire_instant(span.start), wire_instant(span.end)
    wire["waited"] = [
        {
            "condition": waited.condition,
            "reason": waited.reason.value,
            "words": phrase(waited.reason),
            "seconds": waited.seconds,
        }
        for waited in account.waited()
    ]
    wire["cut"] = [
        {"entry": cutter(entry), "seconds": round(length.total_seconds())}
        for entry, length in account.cut()
    ]
    if line is not None:
        if line.closest is not None:
            wire["closest"] = line.closest
        if line.dag_run_id is not None:
            wire["dagRunId"] = line.dag_run_id
        for name, at in (
            ("triggerTime", line.trigger_time),
            ("startTime", line.start_time),
            ("endTime", line.end_time),
        ):
            if at is not None:
                wire[name] = wire_instant(at)
    return wire
