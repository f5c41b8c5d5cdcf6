"""The check for words that have left the code."""

import runpy
from pathlib import Path

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "gone_words.py"))


def test_a_word_that_is_gone_is_found_with_its_line() -> None:
    text = "pool = Lanes(4)\n# a worker\nstate.rests_until = 0"

    assert TOOL["gone"](text) == [(1, "Lanes"), (3, "rests_until")]


def test_a_word_inside_another_is_another_word() -> None:
    assert TOOL["gone"]("planes, _lanes, halved, ObservedLinear, a_flaw") == []
