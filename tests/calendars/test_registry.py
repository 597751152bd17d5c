"""What every provider keeps to, also those that are yet to come."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from slackwater.calendars.registry import PROVIDERS
from slackwater.core.event import Event
from slackwater.core.spec import Privacy
from slackwater.errors import CalendarError
from slackwater.net import CALENDAR_POLICY
from slackwater.wire import WireModel
from tests.calendars.support import CANARY, HORIZON, NOW, Secrets, opened

NAMES = sorted(PROVIDERS)

# One configuration of each provider, its readable parts marked; {origin} is a server's.
SAMPLES: Mapping[str, dict[str, Any]] = {
    "caldav": {
        "url": f"{{origin}}/{CANARY}/",
        "usernameSecretRef": {"name": "s", "key": "k"},
        "passwordSecretRef": {"name": "s", "key": "k"},
    },
    "ical": {"url": f"{{origin}}/{CANARY}.ics"},
    "static": {
        "events": [
            {
                "uid": "a",
                "summary": CANARY,
                "description": CANARY,
                "categories": [CANARY],
                "start": "2026-04-01",
                "end": "2026-04-02",
                "allDay": True,
            }
        ]
    },
}
SECRETS = Secrets({("research", "s", "k"): CANARY})


def sample(name: str, origin: str) -> dict[str, Any]:
    config = dict(SAMPLES[name])
    if "url" in config:
        config["url"] = config["url"].format(origin=origin)
    return config


def models(model: type[WireModel]) -> Iterator[type[WireModel]]:
    yield model
    for info in model.model_fields.values():
        for kind in (info.annotation, *_arguments(info.annotation)):
            if inspect.isclass(kind) and issubclass(kind, WireModel):
                yield from models(kind)


def _arguments(kind: object) -> Iterator[object]:
    for argument in getattr(kind, "__args__", ()):
        yield argument
        yield from _arguments(argument)


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_is_filed_under_its_name_and_described(name) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name
    assert provider.default_refresh >= timedelta(seconds=5)
    for model in models(provider.config):
        assert inspect.getdoc(model)
        for field in model.model_fields.values():
            assert field.description, f"{model.__name__} has a field without a description"
    wire_names = {field.alias or key for key, field in provider.config.model_fields.items()}
    assert set(provider.file_only_fields) <= wire_names


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_an_event_is_accounted_for_by_privacy(name) -> None:
    given = PROVIDERS[name].fields
    assert set(given) == set(Privacy)
    assert given[Privacy.FREE_BUSY] <= given[Privacy.BASIC] <= given[Privacy.DETAILS]
    assert given[Privacy.DETAILS] <= {field.name for field in fields(Event)}
    readable = {"summary", "description", "categories", "organizer"}
    assert not given[Privacy.FREE_BUSY] & (readable | {"key"})
    assert "description" not in given[Privacy.BASIC]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_does_not_exist_is_refused(name) -> None:
    config = {**sample(name, "https://a.example"), "colour": "red"}
    with pytest.raises(ValidationError):
        PROVIDERS[name].config.model_validate(config)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("privacy", Privacy)
@pytest.mark.asyncio(loop_scope="session")
async def test_neither_repr_nor_error_shows_what_a_calendar_holds(
    name, privacy, serve, expander
) -> None:
    async def failing(request: web.Request) -> web.Response:
        return web.Response(status=500, text=CANARY)

    source = opened(
        name, sample(name, await serve(failing)), expander, privacy=privacy, secrets=SECRETS
    )
    shown = [repr(source), repr(source._opening), repr(source._opening.config)]
    try:
        shown.append(repr(await source.fetch(HORIZON, None, NOW)))
    except CalendarError as error:
        shown += [repr(error), str(error), repr(error.gaps)]
    await source.aclose()
    assert CANARY not in "".join(shown)


@pytest.mark.parametrize("name", [name for name in NAMES if "url" in SAMPLES[name]])
@pytest.mark.asyncio(loop_scope="session")
async def test_no_provider_reaches_inside_from_a_cluster(name, serve, expander) -> None:
    asked = []

    async def victim(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    origin = (await serve(victim)).replace("http:", "https:").replace("127.0.0.1", "localhost")
    source = opened(name, sample(name, origin), expander, policy=CALENDAR_POLICY, secrets=SECRETS)
    with pytest.raises(CalendarError) as caught:
        await source.fetch(HORIZON, None, NOW)
    await source.aclose()
    assert caught.value.reason == "BlockedTarget"
    assert asked == []
