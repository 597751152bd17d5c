"""Secrets as files: `<directory>/<namespace>/<name>/<key>`, the layout of a mounted Secret."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.ports import SecretsChanged

# The API server takes objects of about this size; what is larger is no secret.
SIZE_LIMIT: Final = 1024 * 1024

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# As in Kubernetes, no key is "." or begins with "..".
_KEY: Final = re.compile(r"(?!\.$)(?!\.\.)[-._a-zA-Z0-9]{1,253}")

_Stamp = tuple[int, int, int, int] | None
Runner = Callable[[Callable[[], str]], Awaitable[str]]


class SecretFiles:
    """A SecretReader over files, which are read anew at every call.

    Args:
        directory: where they lie; None where this installation has no secrets.
        run: runs a blocking function in a thread of its own.
    """

    def __init__(self, directory: Path | None, run: Runner) -> None:
        self._directory = directory
        self._run = run
        self._used: dict[tuple[str, str, str], _Stamp] = {}

    async def read(self, namespace: str, name: str, key: str) -> str:
        """The value, less one newline at its end, as editors leave one.

        Raises:
            SecretError: SECRET_NOT_FOUND (also where it may not be read), SECRET_KEY_NOT_FOUND,
                TOO_LARGE, MALFORMED (not UTF-8).
        """
        return await self._run(lambda: self._read(namespace, name, key))

    def changed(self) -> frozenset[SecretsChanged]:
        """Secrets of which a file that was asked for came, went or changed since it was read."""
        found = set()
        for (namespace, name, key), stamp in list(self._used.items()):
            now = self._stamp(namespace, name, key)
            if now != stamp:
                self._used[namespace, name, key] = now
                found.add(SecretsChanged(namespace, name))
        return frozenset(found)

    def _read(self, namespace: str, name: str, key: str) -> str:
        ref = f"{namespace}/{name}"
        # Names are checked whole, so that no path leads out of the directory.
        valid = _NAMESPACE.fullmatch(namespace) and _NAME.fullmatch(name)
        if self._directory is None or not valid:
            raise SecretError(Reason.SECRET_NOT_FOUND, ref=ref, key=key)
        if not _KEY.fullmatch(key):
            raise SecretError(Reason.SECRET_KEY_NOT_FOUND, ref=ref, key=key)
        # Taken before the content: a change in between is told once too often, never missed.
        self._used[namespace, name, key] = self._stamp(namespace, name, key)
        secret = self._directory / namespace / name
        try:
            with (secret / key).open("rb") as file:
                content = file.read(SIZE_LIMIT + 1)
        except (FileNotFoundError, IsADirectoryError) as error:
            missing = Reason.SECRET_KEY_NOT_FOUND if secret.is_dir() else Reason.SECRET_NOT_FOUND
            raise SecretError(missing, ref=ref, key=key) from error
        except OSError as error:
            raise SecretError(Reason.SECRET_NOT_FOUND, ref=ref, key=key) from error
        if len(content) > SIZE_LIMIT:
            raise SecretError(Reason.TOO_LARGE, what=f"Secret {ref}")
        try:
            value = content.decode()
        except UnicodeDecodeError:
            # The cause would quote the value.
            raise SecretError(Reason.MALFORMED, what=f"Secret {ref}") from None
        return value.removesuffix("\n").removesuffix("\r") if value.endswith("\n") else value

    def _stamp(self, namespace: str, name: str, key: str) -> _Stamp:
        assert self._directory is not None
        try:
            found = (self._directory / namespace / name / key).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
