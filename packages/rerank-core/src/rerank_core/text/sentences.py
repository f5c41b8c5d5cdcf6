"""Divides a text into sentences, by the punctuation of many scripts. Without a dictionary, it may be wrong at a dot."""

import re

from rerank_core.types import Span

MOST = 64  # sentences of one window: where there are more, neighbours are taken together
_REACH = 500  # characters beside a window that are searched for the ends of the sentences that it has in part

# Where a sentence ends: at a mark before white space, at one that needs none, and before an empty line. A row of marks
# is read once, however long it is: only from its beginning, and without going back.
_MARKS = ".!?…؟۔।॥։"
_END = rf"(?<![{_MARKS}])[{_MARKS}]++[\"'”’)\]»]*+(?=\s)|[。！？｡።။។]+[”’」』）]*|(?<=\S)(?=\s*\n\s*\n)"
END = re.compile(_END)
# An item of a list is a sentence of its own, too.
_END_OR_ITEM = re.compile(_END + r"|(?<=\S)(?=[^\S\n]*\n\s*(?:[-*+•‣▪–—]|\d{1,3}[.)])\s)")
_LAST_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_NEXT = re.compile(r"[\s\"'“”‘’«»(\[]*(\S)")
_ABBREVIATIONS = frozenset({
    "abb", "al", "apr", "approx", "aug", "bzw", "ca", "cf", "co", "dec", "dr", "ed", "eds", "eq", "esp", "est", "etc",
    "evtl", "feb", "fig", "figs", "gen", "ggf", "hr", "incl", "inkl", "jan", "jul", "jun", "lt", "ltd", "messrs", "mr",
    "mrs", "ms", "mt", "nov", "nr", "oct", "okt", "op", "pp", "prof", "ref", "resp", "rev", "sep", "sept", "sr", "sra",
    "st", "tab", "tel", "temp", "usw", "vgl", "vol", "vs", "zzgl", "г", "др", "проф", "рис", "см", "стр", "ул",
})  # fmt: skip
_SHORT = 3  # letters: a word that short before a dot and a small letter is taken for an abbreviation


def sentences(text: str, window: Span | None = None) -> list[Span]:
    """Find the sentences of a text, or of a window of it, in their order and without the white space around them.

    They are whole sentences of the text, in its characters: one that the window has in part belongs to it where its
    middle does. A window without any is taken as one. There are at most ``MOST``.
    """
    window = window or Span(0, len(text))
    start, end = max(0, window.start - _REACH), min(len(text), window.end + _REACH)
    found = [
        one for one in _divided(text, start, end) if window.start <= (one.start + one.end) // 2 < window.end
    ] or _trimmed(text, *window)
    size = -(-len(found) // MOST)  # rounded up
    return [Span(group[0].start, group[-1].end) for group in _groups(found, size)]


def _divided(text: str, start: int, end: int) -> list[Span]:
    """Divide a part of a text. What has neither a letter nor a digit goes to the sentence before it."""
    ends = [match.end() for match in _END_OR_ITEM.finditer(text, start, end) if _is_end(text, match)]
    found: list[Span] = []
    for begin, stop in zip([start, *ends], [*ends, end], strict=True):
        for one in _trimmed(text, begin, stop):
            if found and not any(map(str.isalnum, text[one.start : one.end])):
                found[-1] = Span(found[-1].start, one.end)
            else:
                found.append(one)
    return found


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Return whether a sentence ends there: a dot is also behind an abbreviation, an initial and an ordinal number."""
    if match[0] != ".":
        return True
    word = _LAST_WORD.search(text, max(0, match.start() - 20), match.start())
    if word is None:
        return True
    is_ordinal = word[0].isdecimal() and len(word[0]) < 3
    last = word[0].lower().rpartition(".")[2]
    if is_ordinal or last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha()):
        return False
    following = _NEXT.match(text, match.end())
    return following is None or not following[1].islower() or len(last) > _SHORT


def _trimmed(text: str, start: int, end: int) -> list[Span]:
    """Return the part of a text without the white space around it; nothing where there is nothing else."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    part = part.strip()
    return [Span(start, start + len(part))] if part else []


def _groups(spans: list[Span], size: int) -> list[list[Span]]:
    return [spans[start : start + size] for start in range(0, len(spans), max(1, size))]
