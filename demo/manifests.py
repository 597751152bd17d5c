"""The manifests of examples/quickstart, with the addresses of this machine's servers filled in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart"
NAMESPACE = "research"

# Addresses as the examples have them; each stands in exactly one place.
CALENDAR_URL = "https://calendar.example/research/team/"
PROMETHEUS_URL = "http://prometheus.monitoring:9090"
AIRFLOW_URL = "https://airflow.example/"

Secrets = Mapping[str, Mapping[str, str]]
"""Keys and values by the secret's name; all in the namespace of the examples."""


def fill(into: Path, addresses: Mapping[str, str], source: Path = QUICKSTART) -> Path:
    """Copy the manifests and replace addresses, and nothing else.

    Args:
        into: the directory to make.
        addresses: what to write in place of each example address.
        source: where the manifests are.

    Returns:
        The directory.

    Raises:
        ValueError: an address does not stand in the manifests exactly once.
    """
    texts = {path.name: path.read_text() for path in sorted(source.glob("*.yaml"))}
    for address, real in addresses.items():
        places = [name for name, text in texts.items() if address in text]
        if len(places) != 1 or texts[places[0]].count(address) != 1:
            raise ValueError(f"{address} stands in {places or 'no manifest'}, not in one place")
        texts[places[0]] = texts[places[0]].replace(address, real)
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    for name, text in texts.items():
        (into / name).write_text(text)
    return into


def write_secrets(into: Path, secrets: Secrets) -> Path:
    """Secrets as `slackwater run` reads them: `<into>/<namespace>/<name>/<key>`."""
    for name, keys in secrets.items():
        folder = into / NAMESPACE / name
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in keys.items():
            (folder / key).touch(mode=0o600)
            (folder / key).write_text(value)
    return into
