"""The command line: `dure`, also `python -m dure`.

Exit codes: 0 done; 1 a typed error, or a file or request failed (one line on stderr); 2 wrong
usage; 130 Ctrl-C. Each command is imported only when it is called.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["main"]

INTERRUPTED = 130
EMBED_HELP = "NAME or NAME@DIMENSIONS of the provider's; default: the store's own, else local"
MOST = 10_000_000  # of whatever is counted
GRACE_SECONDS = 0.15  # what an interrupted command has to end by itself

_TEXTS = (
    "question",
    "collection",
    "model",
    "embed_model",
    "encoding",
    "host",
    "before",
    "after",
    "email",
    "name",
    "user",
    "org",
    "revision",
)
_MODULES = {"import": "imports"}  # where a command's name is a word of Python's
_COMMANDS = {
    "demo": "ingest, ask and fan out: the whole main job in under a minute",
    "ingest": "read files and folders into the store",
    "ask": "answer a question from the store, with sources and the bill",
    "count": "count tokens of files, exactly",
    "map": "send every line of a JSONL file as a request, bounded and in order",
    "serve": "start the HTTP service",
    "db": "bring the service's database to a revision, or say which it has",
    "users": "add a person, or make one an operator of the installation",
    "keys": "make an API key of the service, or seal its secrets with the newest key",
    "audit": "check that the audit log is whole",
    "import": "take over another gateway's configuration",
    "ledger": "verify, show or export the ledger",
    "saving": "price one token log at two models",
    "versions": "what this build is made of",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(argv)
    if sys.stdout is None:  # closed by the caller, so nobody asks
        return 1
    _interrupt_within(GRACE_SECONDS)
    try:
        code = _run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:
        done = str(interrupt) or "what was done is kept"
        sys.stderr.write(f"dure: interrupted; {done}\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has enough
        return 0


def _run(options: argparse.Namespace) -> int:
    from importlib import import_module

    from dure.errors import DureError

    try:
        _check_texts(options)
        module = _MODULES.get(options.command, options.command)
        return int(import_module(f"dure.cli.{module}").run(options))
    except DureError as error:
        return _failed(options, str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _failed(options, f"{where}{error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the last resort of a program; --debug shows all
        what = f"{type(error).__name__}: {error}"
        return _failed(options, f"internal error: {what} (run again with --debug)")


def _check_texts(options: argparse.Namespace) -> None:
    """Refuse bytes that are no UTF-8 in what is no path; paths may hold any."""
    from dure.errors import InvalidArgumentError

    for name in _TEXTS:
        value = getattr(options, name, None)
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                option = name if name == "question" else f"--{name.replace('_', '-')}"
                raise InvalidArgumentError(
                    f"{option} is no UTF-8 text: {value!a}", argument=name
                ) from None


def _failed(options: argparse.Namespace, message: str) -> int:
    """Say it in one line; called while the error is being handled."""
    if options.debug:
        import traceback

        traceback.print_exc()
    from .output import complain

    complain(message)
    return 1


def _interrupt_within(seconds: float) -> None:
    """Make Ctrl-C raise KeyboardInterrupt, and end the process if nobody obeys in time."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        import threading

        last = threading.Timer(seconds, os._exit, (INTERRUPTED,))
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dure", description="Model calls, tokens, money, chunks and search: exact."
    )
    parser.add_argument("--version", action="version", version=_version())
    _add_common(parser, missing=None)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for name, what in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        _add_common(command, missing=argparse.SUPPRESS)
        if name in _ADD:
            _ADD[name](command)
    return parser


class _CommandParser(argparse.ArgumentParser):
    """Takes options before, between and behind the other arguments of a command."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def _add_common(parser: argparse.ArgumentParser, *, missing: str | None) -> None:
    """Add what stands before or after the command; `missing`: its value where it stands not."""
    help_of = {
        "--data": "data folder (else DURE_DATA, else yours)",
        "--store": "store folder (else DATA/stores/default)",
        "--json": "one JSON document on stdout",
        "--debug": "show tracebacks",
    }
    for name in ("--data", "--store"):
        parser.add_argument(name, metavar="DIR", default=missing, help=help_of[name])
    for name in ("--json", "--debug"):
        parser.add_argument(name, action="store_true", default=missing or False, help=help_of[name])


def _version() -> str:
    from dure import __version__

    return f"dure {__version__}"


def _count(text: str, least: int = 1, most: int = MOST) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        given = text if len(text) <= 40 else f"{text[:40]}..."
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number from {least} to {most:,}")
    return number


def _port(text: str) -> int:
    return _count(text, 0, 65_535)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=_count, default=500, help="how many to fan out")
    parser.add_argument("--limit", type=_count, default=64, help="how many at once")


def _add_ingest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    parser.add_argument("--collection", default="default")
    parser.add_argument("--max-tokens", type=_count, default=512, help="largest chunk")
    parser.add_argument("--embed-model", help=EMBED_HELP)
    parser.add_argument("--prune", action="store_true", help="drop documents whose file is gone")
    parser.add_argument("--verbose", action="store_true", help="a line for every refused file")


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question")
    parser.add_argument("--collection", default="default")
    parser.add_argument("--model", help="default: gpt-4o-mini with a key, else dure.local")
    parser.add_argument("--embed-model", help=EMBED_HELP)
    parser.add_argument("--mode", choices=("hybrid", "vector", "bm25"), default="hybrid")
    parser.add_argument("--top-k", type=_count, default=5)
    parser.add_argument("--max-context-tokens", type=_count)


def _add_count(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="UTF-8 text; - is stdin")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--encoding", help="default: o200k_base")
    which.add_argument("--model", help="count as this model does")


def _add_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.jsonl", help="one request body per line; - is stdin")
    parser.add_argument("--limit", type=_count, default=64, help="how many at once")
    parser.add_argument("--out", metavar="FILE", help="default: stdout")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="default: DURE_HOST, else 127.0.0.1")
    parser.add_argument("--port", type=_port, help="default: DURE_PORT, else 8000")
    parser.add_argument("--workers", type=_count, default=1)
    parser.add_argument("--dev", action="store_true", help="development preset; loopback only")


def _add_db(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("upgrade", "downgrade", "current"))
    parser.add_argument("revision", nargs="?", help="default: the newest; downgrade: say which")


def _add_users(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("add", "operator"))
    parser.add_argument("email")
    parser.add_argument("--role", choices=("viewer", "user", "admin"), default="user")
    parser.add_argument("--org", default="default", help="default: default")
    parser.add_argument("--off", action="store_true", help="operator: no longer")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("create", "rewrap"))
    parser.add_argument("name", nargs="?", help="create: what it is called")
    parser.add_argument("--user", metavar="EMAIL", help="create: whose key it is")
    parser.add_argument("--org", default="default", help="default: default")
    parser.add_argument("--role", choices=("viewer", "user", "admin"), default="user")
    parser.add_argument("--days", type=_count, default=90, help="how long it is good")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("verify",))
    parser.add_argument("--org", default="default", help="default: default")


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("verify", "tail", "replay", "export"))
    parser.add_argument("path", nargs="?", metavar="PATH", help="default: the data folder's")
    parser.add_argument("-n", "--lines", type=_count, default=10, help="how many, for tail")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", choices=("litellm",))
    parser.add_argument("file", metavar="CONFIG", help="its config.yaml")
    parser.add_argument("--out", metavar="FOLDER", help="write dure.env and prices.json there")
    parser.add_argument("--apply", action="store_true", help="set its budget in the data folder")


def _percent(text: str) -> object:
    from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and -1000 <= number <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage up to 100")
    return number


def _add_saving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", metavar="FILE.jsonl", help="a usage a line; - is stdin; default: ledger"
    )
    parser.add_argument("--before", metavar="MODEL", default="gpt-4", help="default: gpt-4")
    parser.add_argument(
        "--after", metavar="MODEL", default="gpt-4o-mini", help="default: gpt-4o-mini"
    )
    parser.add_argument(
        "--at-least", type=_percent, metavar="PERCENT", help="exit 1 if less is saved"
    )


_ADD = {
    "demo": _add_demo,
    "ingest": _add_ingest,
    "ask": _add_ask,
    "count": _add_count,
    "map": _add_map,
    "serve": _add_serve,
    "db": _add_db,
    "users": _add_users,
    "keys": _add_keys,
    "audit": _add_audit,
    "import": _add_import,
    "ledger": _add_ledger,
    "saving": _add_saving,
}
