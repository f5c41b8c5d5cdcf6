"""The command ``rerank-server``: it reads the settings, makes the application and serves it.

Exit codes: 0 after a drain, 1 where it could not start or load the model, 2 for a wrong command line or setting, 128 +
the signal that ended it at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_core.cli.command import SERVE, Command
from rerank_core.errors import MissingExtra, RerankError

from rerank_server import __version__
from rerank_server.observability.logs import configure_logging, flush_logs
from rerank_server.settings import Settings, SettingsError, allowed, in_variables, settings_fields, variable_of

if TYPE_CHECKING:
    from rerank_server.app import Application

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="rerank-server",
        description="Serve a reranker over HTTP. All settings come from the environment.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rerank-server {__version__}")
    _configure(parser)
    try:
        return _run(parser.parse_args(argv))
    except KeyboardInterrupt:
        return 130


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="load the model, score one pair, print a line and exit")
    parser.add_argument("--ready", action="store_true", help="ask the server on this machine whether it is ready")
    parser.add_argument("--reload", action="store_true", help="restart whenever the code changes")


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        return _refuse(error)
    if arguments.ready:
        return _ready(settings)
    _configure_logging(settings)
    if arguments.check:
        return _check(settings)
    if arguments.reload:
        return _serve_and_reload(settings)

    from rerank_server.process.server import serve

    try:
        return serve(settings)
    except SettingsError as error:
        return _refuse(error)
    except MissingExtra as error:
        _complain(str(error))
        return 1


COMMAND = Command("serve", "Serve a reranker over HTTP (settings come from the environment).", _configure, _run, SERVE)


def application() -> Application:
    """Make the application from the environment, for ``--reload`` and for other ASGI servers."""
    from rerank_server.app import create_app

    settings = Settings.from_env(os.environ)
    _configure_logging(settings)
    return create_app(settings)


def _configure_logging(settings: Settings) -> None:
    configure_logging(settings.log_level, settings.log_format)
    for remark in settings.remarks():
        logger.warning("%s", remark)


def _refuse(error: SettingsError) -> int:
    _complain(*error.wrong)
    return 2


def _complain(*lines: str) -> None:
    """Print errors below what was logged before them."""
    flush_logs()
    for line in lines:
        print(f"rerank-server: {line}", file=sys.stderr)  # noqa: T201


def _check(settings: Settings) -> int:
    from rerank_server.lifecycle.loading import describe, load_model

    try:
        model = load_model(settings)
        model.score("Does it score?", ["It does."])
    except RerankError as error:
        _complain(in_variables(str(error)))
        return 1
    info = model.info
    print(f"ok: {describe(info)}, {info.max_length} tokens")  # noqa: T201
    return 0


def _ready(settings: Settings) -> int:
    from rerank_server.process.healthcheck import is_ready

    ready, answer = is_ready(settings)
    print(answer)  # noqa: T201
    return 0 if ready else 1


def _serve_and_reload(settings: Settings) -> int:
    import rerank_core
    import uvicorn

    uvicorn.run(
        "rerank_server.__main__:application",
        factory=True,
        reload=True,
        reload_dirs=[str(Path(package).parent) for package in (__file__, rerank_core.__file__)],
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
    )
    return 0


def _help() -> str:
    lines = ["settings:"]
    width = max(len(variable_of(field.name)) for field in settings_fields())
    for field in settings_fields():
        default = "" if field.default is None else f" (default: {_text(field.default)})"
        lines.append(f"  {variable_of(field.name):<{width}} {allowed(field)}{default}")
    return "\n".join([*lines, "", "docs/configuration.md describes each of them."])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
