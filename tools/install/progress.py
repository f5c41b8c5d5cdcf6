"""Progress of uv, read from the lines that it writes where no terminal is."""

import re
from dataclasses import dataclass, field

# What uv writes for each package that it installs, removes or replaces.
PACKAGE_LINE = re.compile(r" [-+~] (?P<name>[^ =@]+)(?:==(?P<version>\S+))?")
# Steps of uv that take no time: our packages are built in a moment.
QUICK_LINE = re.compile(r"\s*(Resolved|Building|Built|Checked|Audited|Using) ")
DOWNLOADING = re.compile(r"\s*Downloading (?P<name>\S+) \((?P<number>[\d.]+) ?(?P<unit>[KMG])iB\)")
DOWNLOADED = re.compile(r"\s*Downloaded (?P<name>\S+)")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(slots=True)
class Progress:
    """Downloads in the lines that uv writes where no terminal is: sizes of all that began, names of all that run."""

    finished: int = 0  # bytes
    running: dict[str, int] = field(default_factory=dict)  # bytes by package

    def shows(self, line: str) -> bool:
        """Take a line into account; whether it is worth showing: quick steps and the list of packages are not."""
        if begun := DOWNLOADING.match(line):
            self.running[begun["name"]] = int(float(begun["number"]) * UNITS[begun["unit"]])
        elif ended := DOWNLOADED.match(line):
            self.finished += self.running.pop(ended["name"], 0)
        return bool(line.strip()) and not PACKAGE_LINE.match(line) and not QUICK_LINE.match(line)

    def status(self, seconds: float) -> str:
        """One short line for a terminal."""
        waiting = sorted(self.running, key=lambda name: -self.running[name])[:2]
        names = ", ".join(f"{name} ({megabytes(self.running[name])})" for name in waiting)
        return f"  {seconds:.0f} s, {megabytes(self.finished)} downloaded" + (f", waiting for {names}" if names else "")


def megabytes(size: int) -> str:
    """A size to be read by people: `1 MB`, `3.1 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
