"""The page inside Airflow is drawn once for all who may see the same of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slackwater_airflow import view as module
from slackwater_airflow.file import VARIABLE
from slackwater_airflow.view import TideTable
from slackwater_windows.wire import encode
from tests.windows.make import document, window


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What was drawn; the file is `windows.json` of the folder."""

    async def aside(work: Any, *words: Any) -> Any:
        return work(*words)

    anyio = SimpleNamespace(to_thread=SimpleNamespace(run_sync=aside))
    monkeypatch.setitem(sys.modules, "anyio", anyio)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "windows.json"))
    found: list[Any] = []
    render = module.render

    def counted(*words: Any) -> str:
        found.append(words)
        return render(*words)

    monkeypatch.setattr(module, "render", counted)
    (tmp_path / "windows.json").write_text(encode(document(window(dag_id="train_llm"))))
    return found


def ask(table: TideTable, query: str = "") -> str:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "query_string": query.encode()}
    asyncio.run(table(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 200
    text: str = sent[1]["body"].decode()
    return text


def reader(*dags: str) -> TideTable:
    table = TideTable()
    rights(table, *dags)
    return table


def rights(table: TideTable, *dags: str) -> None:
    async def readable(_: Any) -> set[str]:
        return set(dags)

    table.readable = readable  # type: ignore[method-assign]


class Still:
    """A clock for the module under test."""

    def __init__(self, minute: int) -> None:
        self.minute = minute

    def now(self, zone: Any) -> Any:
        from datetime import datetime

        return datetime(2026, 6, 1, 12, self.minute, 7, tzinfo=zone)


def test_within_a_minute_the_same_page_is_drawn_once(
    drawn: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "datetime", clock := Still(5))
    table = reader("train_llm")
    first = ask(table)
    assert ask(table) == first
    assert len(drawn) == 1
    clock.minute = 6
    ask(table)
    assert len(drawn) == 2


def test_other_rights_other_questions_and_another_file_are_drawn_anew(
    drawn: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "datetime", Still(5))
    table = reader("train_llm")
    ask(table)
    assert len(drawn[-1][0].windows) == 1
    rights(table)
    ask(table)
    assert drawn[-1][0].windows == ()  # nothing of what somebody else may see
    ask(table, "q=night")
    assert len(drawn) == 3
    (tmp_path / "windows.json").write_text(encode(document(window(dag_id="train_llm"))) + "\n")
    ask(table, "q=night")
    assert len(drawn) == 4
