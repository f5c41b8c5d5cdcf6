"""Names of the last release: they work for one release more, and warn."""

import warnings
from collections.abc import Mapping
from typing import Any


def renamed(module: str, name: str, renamings: Mapping[str, object]) -> Any:
    """Return what a name of ``module`` has become, for the module's ``__getattr__``.

    Raises ``AttributeError`` for any other name.
    """
    if name not in renamings:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    found = renamings[name]
    warn(f"{module}.{name} is now {getattr(found, '__name__', found)}", stacklevel=4)
    return found


def warn(message: str, *, stacklevel: int) -> None:
    """Warn that something goes away with the next release; ``stacklevel`` counts as for ``warnings.warn``."""
    warnings.warn(f"{message}; the old way goes away with the next release", DeprecationWarning, stacklevel=stacklevel)
