"""Folders of wheels that uv or pip is configured with."""

import configparser
import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def wheel_folders(environment: Mapping[str, str], pip_files: Iterable[Path]) -> list[str]:
    """
    List the folders or pages that uv or pip is configured to find wheels in.

    One source counts, the first that is set: `UV_FIND_LINKS` (separated by commas), `PIP_FIND_LINKS` (by spaces), pip's
    configuration files (the last file that names some counts, as for pip).
    """
    if named := environment.get("UV_FIND_LINKS"):
        return [folder for folder in named.split(",") if folder]
    if named := environment.get("PIP_FIND_LINKS"):
        return _split(named)
    folders: list[str] = []
    for file in pip_files:
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):  # then pip cannot read it either
            parser.read_string(file.read_text(encoding="utf-8"))
        for section in ("global", "install"):
            folders = _split(parser.get(section, "find-links", fallback="")) or folders
    return folders


def _split(named: str) -> list[str]:
    """Split at white space, as pip does, but leave a folder whole that exists under the whole name."""
    named = named.strip()
    return [named] if named and Path(named).is_dir() else named.split()


def pip_files(environment: Mapping[str, str], system: str, home: Path) -> list[Path]:
    """List pip's configuration files, the strongest last; none where pip is told to read none."""
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    if system == "win32":
        machine = [Path(environment.get("PROGRAMDATA", "C:/ProgramData")) / "pip" / "pip.ini"]
        user = [home / "pip" / "pip.ini", Path(environment.get("APPDATA", home)) / "pip" / "pip.ini"]
    else:
        shared = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        machine = [*(Path(folder) / "pip" / "pip.conf" for folder in shared.split(":")), Path("/etc/pip.conf")]
        user = [home / ".pip" / "pip.conf"]
        if system == "darwin":
            machine.append(Path("/Library/Application Support/pip/pip.conf"))
            user.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
        user.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf")
    return [*machine, *user, *([Path(chosen)] if chosen else [])]
