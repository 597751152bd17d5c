"""From words on the command line to a command, and from its errors to one sentence and a code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, NoReturn

from slackwater import __version__

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2
_INTERRUPTED: Final = 130  # as shells have it: 128 + SIGINT

# Name, module below slackwater.cli, and what `slackwater --help` says of it.
_COMMANDS: Final = (
    ("run", "run", "serve a directory of manifests, without a cluster"),
    ("operator", "operator", "serve a Kubernetes cluster"),
    ("plan", "plan", "show when manifests would start runs, before they are applied"),
    ("suggest", "suggest", "suggest better times for a DAG, from calendars and the expected load"),
    ("explain", "explain", "say why a TrainingWindow does or does not run"),
    ("check", "check", "check manifests"),
    ("backtest", "backtest", "show what off-peak starts would have gained on a recorded load"),
    ("queue", "queue", "show who waits for a GPU pool, in order"),
    ("trigger", "override", "ask for a run now"),
    ("skip", "override", "leave an occurrence out"),
    ("suspend", "override", "let a TrainingWindow start nothing more"),
    ("resume", "override", "undo suspend"),
    ("crds", "crds", "print the CustomResourceDefinitions"),
)
_LONG_RUNNING: Final = frozenset({"run", "operator"})


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where to read on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the problem and exit with 2."""
        self.exit(UNUSABLE, f"slackwater: {message}; see `{self.prog} --help`.\n")


def main(argv: Sequence[str]) -> int:
    """Run the command that the words name.

    Args:
        argv: the words after `slackwater`.

    Returns:
        0 when it went well, 1 when it failed or what it looked at is not well, 2 when it cannot
        be used as it was given.
    """
    try:
        return _run(argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else UNUSABLE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _run(argv: Sequence[str]) -> int:
    parser, _, module = _parser(argv)
    args = parser.parse_args(argv)
    if module is None:
        parser.print_help(sys.stderr)
        return UNUSABLE
    from slackwater.core.words import WORDS
    from slackwater.errors import ConfigError, SlackwaterError
    from slackwater.runtime.logs import configure
    from slackwater.runtime.settings import log_settings

    level = "info" if args.command in _LONG_RUNNING else "warning"
    try:
        configure(log_settings(vars(args), os.environ, level))
        code: int = module.execute(args)
        sys.stdout.flush()
    except ConfigError as error:
        return _complain(UNUSABLE, error.sentence)
    except SlackwaterError as error:
        return _complain(FAILED, f"{error.sentence} {WORDS[error.reason].remedy}".strip())
    else:
        return code


def command_names() -> list[str]:
    """Every command, in the order of `slackwater --help`."""
    return [name for name, home, _ in _COMMANDS if find_spec(f"slackwater.cli.{home}") is not None]


def parser_of(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that the first word names."""
    return _parser(argv).commands[argv[0]]


def _complain(code: int, text: str) -> int:
    sys.stderr.write(f"slackwater: {text}\n")
    return code


class _Parsers(NamedTuple):
    """In `whole` only the chosen command is known in full; `module` is that command's."""

    whole: Parser
    commands: Mapping[str, argparse.ArgumentParser]
    module: Any


def _parser(argv: Sequence[str]) -> _Parsers:
    parser = Parser(
        prog="slackwater",
        description="Starts AI training on Airflow when the calendar says now and the GPUs are "
        "free.",
        epilog="`slackwater COMMAND --help` says more about a command. Flags of `run` and "
        "`operator` may also be given as variables, such as SLACKWATER_LOG_LEVEL.",
    )
    parser.add_argument("--version", action="version", version=f"slackwater {__version__}")
    _add_log_flags(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    known = [row for row in _COMMANDS if find_spec(f"slackwater.cli.{row[1]}") is not None]
    names = {name: home for name, home, _ in known}
    chosen = names.get(next((word for word in argv if word in names), ""))
    module = importlib.import_module(f"slackwater.cli.{chosen}") if chosen else None
    for name, home, summary in known:
        if home != chosen:
            commands.add_parser(name, help=summary, add_help=False)
        elif module is not None and name not in commands.choices:
            module.add_parser(commands)
    for name, home, _ in known:
        if home == chosen:
            _add_log_flags(commands.choices[name])
    return _Parsers(parser, commands.choices, module)


def _add_log_flags(parser: argparse.ArgumentParser) -> None:
    # They may stand before or after the command; what is not given must not hide what is.
    group = parser.add_argument_group("log")
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=argparse.SUPPRESS,
        help="lines for people, or one JSON object per line",
    )
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=argparse.SUPPRESS,
        help="the least that is logged",
    )
