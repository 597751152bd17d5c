"""`Calendar`: one calendar of one provider, and who may use it.

The union of providers is built from the registry of `slackwater.calendars`, so that a new
provider is one new file there and nothing here.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field, create_model, model_validator

from slackwater.api.access import Namespaces
from slackwater.api.field import DAY, Rule, demand, exactly_one, is_exactly_one
from slackwater.calendars.registry import PROVIDERS, Provider
from slackwater.core.spec import Privacy
from slackwater.wire import WireModel, ZoneName

_ONE_PROVIDER: Final = exactly_one(
    tuple(PROVIDERS), "a Calendar reads one calendar of one provider"
)


class ProviderChoice(WireModel):
    """Where the calendar is kept: exactly one provider."""

    rules = (_ONE_PROVIDER,)

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        demand(is_exactly_one(*(getattr(self, name) for name in PROVIDERS)), _ONE_PROVIDER)
        return self

    @property
    def name(self) -> str:
        """The wire name of the provider that is set, a key of `PROVIDERS`."""
        return next(name for name in PROVIDERS if getattr(self, name) is not None)

    @property
    def config(self) -> WireModel:
        """The configuration of that provider."""
        config: WireModel = getattr(self, self.name)
        return config

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which no server has to give."""
        fields = PROVIDERS[self.name].file_only_fields
        return any(getattr(self.config, field) is not None for field in fields)


def _optional(name: str, config: type[WireModel]) -> tuple[Any, None]:
    text = " ".join((inspect.getdoc(config) or "").partition("\n\n")[0].split())
    return Annotated[config | None, Field(alias=name, description=text)], None


if TYPE_CHECKING:
    Choice = ProviderChoice
else:
    Choice = create_model(
        "Provider",
        __base__=ProviderChoice,
        __doc__=ProviderChoice.__doc__,
        **{name: _optional(name, provider.config) for name, provider in PROVIDERS.items()},
    )


_OUTLIVES_REFRESH: Final = Rule(
    "!has(self.refreshIntervalSeconds) || self.maxStalenessSeconds >= self.refreshIntervalSeconds",
    "maxStalenessSeconds must not be less than refreshIntervalSeconds, else the calendar is stale "
    "before each read: raise maxStalenessSeconds",
)

LEAST_REFRESH: Final = 5


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())


def _not_too_often(provider: Provider) -> Rule:
    least = _seconds(provider.least_refresh)
    return Rule(
        f"!has(self.provider.{provider.name}) || !has(self.refreshIntervalSeconds) || "
        f"self.refreshIntervalSeconds >= {least}",
        f"refreshIntervalSeconds must be at least {least} with provider {provider.name}, whose "
        "servers do not want to be asked more often: raise it",
    )


def _outlives_default() -> Rule:
    """One rule for all: most providers are read every minute, and few less often."""
    ordinary = min(_seconds(provider.default_refresh) for provider in PROVIDERS.values())
    needed, listed = str(ordinary), str(ordinary)
    for name, provider in PROVIDERS.items():
        refresh = _seconds(provider.default_refresh)
        if refresh != ordinary:
            needed = f"(has(self.provider.{name}) ? {refresh} : {needed})"
            listed += f", {refresh} for {name}"
    return Rule(
        f"has(self.refreshIntervalSeconds) || self.maxStalenessSeconds >= {needed}",
        "maxStalenessSeconds must not be less than the default of refreshIntervalSeconds "
        f"({listed}), else the calendar is stale before each read: raise it or set "
        "refreshIntervalSeconds",
    )


_NOT_TOO_OFTEN: Final = {
    name: _not_too_often(provider)
    for name, provider in PROVIDERS.items()
    if _seconds(provider.least_refresh) > LEAST_REFRESH
}
_OUTLIVES_DEFAULT: Final = _outlives_default()


class CalendarSpec(WireModel):
    """Where the calendar is, how often it is read, how much of it, and who may use it."""

    rules = (_OUTLIVES_REFRESH, _OUTLIVES_DEFAULT, *_NOT_TOO_OFTEN.values())

    provider: Annotated[
        Choice, Field(description="Where the calendar is kept: exactly one provider.")
    ]
    time_zone: Annotated[
        ZoneName | None,
        Field(
            description="Time zone by its IANA name for floating and all-day events. Goes before "
            "the one that the provider tells, which goes before the TrainingWindow's."
        ),
    ] = None
    refresh_interval_seconds: Annotated[
        int | None,
        Field(
            ge=LEAST_REFRESH,
            le=DAY,
            description="How often the calendar is read. Left out: as fits the provider, every "
            "minute, and every 15 minutes for a feed, which may be read every 5 minutes at most.",
        ),
    ] = None
    max_staleness_seconds: Annotated[
        int,
        Field(
            ge=30,
            le=7 * DAY,
            description="How long the last good reading may be used while the calendar cannot be "
            "read. After that no run starts that depends on it.",
        ),
    ] = 3600
    privacy: Annotated[
        Privacy,
        Field(
            description="How much is read. FreeBusy: only busy times; such a calendar can allow "
            "and deny, not trigger. Basic: titles, categories and organizers too; they are matched "
            "in memory and go nowhere. Details: descriptions too, which may flow into the conf of "
            "a run."
        ),
    ] = Privacy.BASIC
    allowed_namespaces: Annotated[
        Namespaces,
        Field(description="The namespaces whose TrainingWindows may use this calendar."),
    ] = Namespaces()

    @model_validator(mode="after")
    def _outlives_its_refresh(self) -> Self:
        refresh = self.refresh_interval_seconds
        demand(refresh is None or self.max_staleness_seconds >= refresh, _OUTLIVES_REFRESH)
        name = self.provider.name
        if refresh is None:
            least = _seconds(PROVIDERS[name].default_refresh)
            demand(self.max_staleness_seconds >= least, _OUTLIVES_DEFAULT)
        if refresh is not None and name in _NOT_TOO_OFTEN and not self.provider.is_file:
            least = _seconds(PROVIDERS[name].least_refresh)
            demand(refresh >= least, _NOT_TOO_OFTEN[name])
        return self


class Calendar(WireModel):
    """A calendar that TrainingWindows can refer to."""

    spec: Annotated[
        CalendarSpec,
        Field(
            description="Where the calendar is, how often it is read, how much of it, and who may "
            "use it."
        ),
    ]
