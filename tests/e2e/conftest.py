from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harbour import Harbour


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    """Airflow on PostgreSQL, Prometheus with a simulated pool, Radicale; all up."""
    with ExitStack() as stack:
        yield Harbour.opened(stack, tmp_path)
