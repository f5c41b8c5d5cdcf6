from collections import deque
from typing import Any

import pytest
from rerank_core.errors import InvalidRequest
from rerank_core.types import Pair
from rerank_integrations.items import as_list, as_pair


@pytest.mark.parametrize(
    "given",
    [["a", "b"], ("a", "b"), (text for text in "ab"), filter(None, ["a", "", "b"]), {1: "a", 2: "b"}.values(),
     deque("ab"), map(str.lower, "AB"), dict.fromkeys("ab").keys()],
)  # fmt: skip
def test_whatever_can_be_iterated_is_a_list(given: Any) -> None:
    assert as_list(given, "documents") == ["a", "b"]


@pytest.mark.parametrize("given", ["ab", b"ab", bytearray(b"ab"), {"a": "b"}, None, 5])
def test_what_is_surely_a_mistake_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^documents is .*: pass"):
        as_list(given, "documents")


def test_an_error_of_the_callers_own_iterator_is_the_callers() -> None:
    def broken() -> Any:
        yield "a"
        raise TypeError("theirs")

    with pytest.raises(TypeError, match="theirs"):
        as_list(broken(), "documents")


@pytest.mark.parametrize("given", [("q", "d"), ["q", "d"], Pair("q", "d"), deque("qd"), iter("qd")])
def test_two_items_are_a_pair(given: Any) -> None:
    assert as_pair(given, 3) == Pair("q", "d")


def test_a_row_of_an_array_is_a_pair() -> None:
    numpy = pytest.importorskip("numpy")

    assert as_pair(numpy.array([["q", "d"]])[0], 0) == Pair("q", "d")


@pytest.mark.parametrize("given", ["ab", b"ab", ("q",), ("q", "d", "d"), (), {"q": "d", "e": "f"}, {"q", "d"}, None, 5])
def test_anything_else_is_no_pair_and_is_named_by_its_place(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^pair 3 "):
        as_pair(given, 3)
