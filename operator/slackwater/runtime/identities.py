"""The file that `--identities` names: identities of the operator, and to whom they are lent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError

from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.net.identity import EVERY_NAMESPACE, Identities, OperatorIdentity
from slackwater.wire import Name, WireModel

_HOST = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise ValueError("write a host such as airflow.example, or host:port")
    return text.lower()


def _namespace(text: str) -> str:
    if text != EVERY_NAMESPACE and not _NAMESPACE.fullmatch(text):
        raise ValueError('write the name of a namespace, or "*" for all')
    return text


class _Entry(WireModel):
    name: Name
    token_file: Annotated[Path, Field(description="Absolute path of the file with the token.")]
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], Field(min_length=1)]
    namespaces: Annotated[
        tuple[Annotated[str, AfterValidator(_namespace)], ...], Field(min_length=1)
    ]


class _File(WireModel):
    identities: tuple[_Entry, ...]


def read_identities(path: Path | None) -> Identities:
    """The identities of a file; none where there is no file.

    Raises:
        ConfigError: the file cannot be read or used; says what is wrong where.
    """
    if path is None:
        return Identities()
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise _wrong(f"{path} cannot be read") from None
    except yaml.YAMLError:
        raise _wrong(f"{path} is not YAML") from None
    try:
        entries = _File.model_validate(document).identities
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise _wrong(f"{path}: {where}: {first['msg']}") from None
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise _wrong(f"{path}: two identities have one name")
    for entry in entries:
        if not entry.token_file.is_absolute():
            raise _wrong(f"{path}: tokenFile of {entry.name} must be an absolute path")
    return Identities(
        OperatorIdentity(
            name=entry.name,
            token_file=entry.token_file,
            hosts=frozenset(entry.hosts),
            namespaces=frozenset(entry.namespaces),
        )
        for entry in entries
    )


def _wrong(problem: str) -> ConfigError:
    return ConfigError(Reason.INVALID_SPEC, detail=f"--identities: {problem}.")
