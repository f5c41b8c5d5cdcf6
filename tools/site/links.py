"""Links of Markdown pages: read from a page, and rewritten for another place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Code is matched first, so that nothing inside it is taken for a link.
_CODE = r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)`*~*[ ]*$|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
_LINK = r"(?P<before>\]\(|\b(?:src|href)=\")(?P<link>[^()\s\"]+)(?P<after>(?:[ ]+\"[^\"]*\")?\)|\")"
_TOKEN = re.compile(rf"{_CODE}|{_LINK}", re.MULTILINE | re.DOTALL)
_OTHER_SITE = re.compile(r"[a-z]+:")


def links(markdown: str) -> Iterator[str]:
    """Yield the links of a page, those to other sites left out."""
    for found in _TOKEN.finditer(markdown):
        if found["link"] and not _OTHER_SITE.match(found["link"]):
            yield found["link"]


def rewrite(markdown: str, change: Callable[[str], str]) -> str:
    """Change each link of a page that ``links`` yields."""

    def changed(found: re.Match[str]) -> str:
        if not found["link"] or _OTHER_SITE.match(found["link"]):
            return found[0]
        return f"{found['before']}{change(found['link'])}{found['after']}"

    return _TOKEN.sub(changed, markdown)
