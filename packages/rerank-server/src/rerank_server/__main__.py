"""``rerank-server``: settings → application → uvicorn.

Exit codes: 0 stopped as asked, 1 the model could not be loaded, 2 the command line or a setting is wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rerank_core.cli.main import Command
from rerank_core.errors import RerankError

from rerank_server import __version__
from rerank_server.settings import Settings, SettingsError, allowed, settings_fields, variable_of

if TYPE_CHECKING:
    from litestar import Litestar

logger = logging.getLogger("rerank_server")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Gives the exit code."""
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
    parser.add_argument("--check", action="store_true", help="load the model, score once, say so and exit")
    parser.add_argument("--reload", action="store_true", help="start again whenever the code changes")


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"rerank-server: {error}", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for ours in ("rerank_core", "rerank_server", "uvicorn"):  # what else libraries have to say is not for operators
        logging.getLogger(ours).setLevel(settings.log_level.upper())
    if arguments.check:
        return _check(settings)
    return _serve(settings, reload=arguments.reload)


COMMAND = Command("serve", "Serve a reranker over HTTP (settings come from the environment).", _configure, _run)


def application() -> Litestar:
    """The application as the environment says, for ``--reload`` and for other ASGI servers."""
    from rerank_server.app import create_app

    return create_app(Settings.from_env(os.environ))


def _check(settings: Settings) -> int:
    from rerank_server.model import load_model

    try:
        info = load_model(settings).info
    except RerankError as error:
        print(f"rerank-server: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"ok: {info.title} on {info.device} in {info.dtype}, {info.max_length} tokens, {info.engine} engine")  # noqa: T201
    return 0


def _serve(settings: Settings, *, reload: bool) -> int:
    import uvicorn

    from rerank_server.app import create_app

    options: dict[str, Any] = {"host": settings.host, "port": settings.port, "log_config": None, "server_header": False}
    if reload:
        from pathlib import Path

        code = Path(__file__).parent
        uvicorn.run("rerank_server.__main__:application", factory=True, reload=True, reload_dirs=[str(code)], **options)
        return 0
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = server.should_exit = True

    # uvicorn raises the signal that ended it once more when it is done; being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, stop=stop), lifespan="on", **options))
    try:
        server.run()
    except SystemExit:  # it could not begin, and has logged why
        where = f"{settings.host}:{settings.port}"
        print(f"rerank-server: cannot listen on {where}, the log says why: set HOST or PORT", file=sys.stderr)  # noqa: T201
        return 1
    return 1 if failed or not server.started else 0


def _help() -> str:
    lines = ["settings:"]
    for field in settings_fields():
        default = "" if field.default is None else f" (default: {_text(field.default)})"
        lines.append(f"  {variable_of(field.name):<24} {allowed(field)}{default}")
    return "\n".join([*lines, "", "docs/configuration.md says what each of them does."])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
