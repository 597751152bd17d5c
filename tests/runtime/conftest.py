from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import DAG, Quay


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    # Reading the system's authorities takes longer than most tests; none needs them.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set the log of the whole process up."""
    libraries = ("aiohttp", "kopf", "kubernetes", "caldav", "icalendar", "niquests", "requests")
    names = ("", "slackwater", *libraries, "urllib3", "urllib3_future")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    handlers = logging.getLogger().handlers[:]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
async def airflow() -> AsyncIterator[FakeAirflow]:
    async with FakeAirflow() as server:
        server.add_dag(DAG, starts_after=timedelta(milliseconds=100))
        yield server


@pytest.fixture
def quay(tmp_path: Path, airflow: FakeAirflow) -> Quay:
    return Quay(tmp_path, airflow)
