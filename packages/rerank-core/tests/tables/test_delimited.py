"""Tables that a spreadsheet or pandas writes come back cell by cell."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.tables.table import parse_table

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=30)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8)


@given(rows=ROWS, separator=st.sampled_from(",;\t|"), line_end=st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_with_quotes_is_read_again(
    rows: list[tuple[str, str, str]], separator: str, line_end: str
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text", "more"), *rows])

    table = parse_table(file.getvalue().encode(), "a.csv")

    assert table.columns == ("id", "text", "more")
    assert [tuple(row.values.values()) for row in table.rows] == [tuple(cell or None for cell in row) for row in rows]


def test_a_row_of_several_lines_is_named_by_its_first() -> None:
    table = parse_table(b'id,text\n1,"two\nlines"\n\n2,b\n', "a.csv")

    assert [row.place for row in table.rows] == ["line 2", "line 5"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_rows(content: bytes) -> None:
    assert parse_table(content, "a.csv").rows == []


def test_a_column_without_a_name_is_called_by_its_number() -> None:
    """As pandas writes its index."""
    table = parse_table(b",text,\n0,a,\n", "a.csv")

    assert table.columns == ("column 1", "text", "column 3")
    assert table.rows[0].values == {"column 1": "0", "text": "a", "column 3": None}


def test_the_layout_of_a_large_file_is_found_by_its_beginning_and_holds_for_the_rest() -> None:
    rows = "".join(f'{number};"a; ""text"" of {number}"\n' for number in range(60_000))

    table = parse_table(f"id;text\n{rows}".encode(), "a.csv")

    assert len(rows) > 1 << 20
    assert table.columns == ("id", "text")
    assert table.rows[-1].values == {"id": "59999", "text": 'a; "text" of 59999'}
