"""Radicale and Xandikos, each in its own environment and on its own data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed import pythons, web
from testbed.caldav.client import Collection
from testbed.process import Server

HERE = Path(__file__).parent
USERS = {"alice": "secret"}


def find() -> dict[str, Path]:
    """The Python of each server's environment."""
    return {n: pythons.environment(n, HERE / f"{n}.txt") for n in ("radicale", "xandikos")}


class Radicale(Server):
    """Radicale; `users` maps names to passwords, None lets everybody in as anybody."""

    name = "radicale"

    def __init__(
        self,
        users: Mapping[str, str] | None = USERS,
        *,
        home: Path | None = None,
        port: int | None = None,
    ) -> None:
        self.python = pythons.environment("radicale", HERE / "radicale.txt")
        super().__init__(home, port)
        self.users = None if users is None else dict(users)

    def prepare(self) -> None:
        users = self.home / "users"
        if self.users is not None:
            users.write_text("".join(f"{n}:{p}\n" for n, p in self.users.items()))
        authentication = (
            ["type = none"]
            if self.users is None
            else ["type = htpasswd", f"htpasswd_filename = {users}", "htpasswd_encryption = plain"]
        )
        lines = [
            "[server]",
            f"hosts = 127.0.0.1:{self.port}",
            "[auth]",
            *authentication,
            "delay = 0",  # a wrong password is answered at once
            "[storage]",
            f"filesystem_folder = {self.home / 'collections'}",
            "[web]",
            "type = none",
            "[logging]",
            "level = warning",
        ]
        (self.home / "radicale.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> Sequence[str | Path]:
        return [self.python, "-m", "radicale", "--config", self.home / "radicale.conf"]

    def environment(self) -> Mapping[str, str]:
        return _alone()

    def ready(self) -> bool:
        return _answers_http(self.url)

    def collection(self, name: str, user: str | None = None) -> Collection:
        """A calendar of `user` (the first one by default); call `make()` on it to create it."""
        if self.users is None:
            # Radicale still files collections by user, and takes any password.
            return Collection(f"{self.url}/{user or 'anyone'}/{name}/", user or "anyone", "")
        owner = user or next(iter(self.users))
        return Collection(f"{self.url}/{owner}/{name}/", owner, self.users[owner])


class Xandikos(Server):
    """Xandikos, which has no users and keeps each calendar in a git repository."""

    name = "xandikos"

    def __init__(self, *, home: Path | None = None, port: int | None = None) -> None:
        self.python = pythons.environment("xandikos", HERE / "xandikos.txt")
        super().__init__(home, port)

    def command(self) -> Sequence[str | Path]:
        return [
            self.python, "-m", "xandikos", "serve", "--defaults", "--no-detect-systemd",
            "--listen-address=127.0.0.1", f"--port={self.port}", "-d", self.home / "collections",
            "--state-dir", self.home / "state",
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        return _alone()

    def ready(self) -> bool:
        return _answers_http(self.url)

    def collection(self, name: str) -> Collection:
        """A calendar; call `make()` on it to create it."""
        return Collection(f"{self.url}/user/calendars/{name}/")


def _answers_http(url: str) -> bool:
    """Any answer will do: without a web page a calendar server's root is no success."""
    try:
        web.call("GET", url, timeout=2)
    except OSError:
        return False
    return True


def _alone() -> Mapping[str, str]:
    """The caller's PYTHONPATH must not reach a server of another environment."""
    return {"PYTHONPATH": "", "GIT_CONFIG_GLOBAL": os.devnull}
