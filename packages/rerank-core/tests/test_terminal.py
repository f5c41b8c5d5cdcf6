from rerank_core.terminal import shorten, width


def test_wide_characters_take_two_columns_and_accents_none():
    assert (width("ab"), width("豹队"), width("e\u0301")) == (2, 4, 1)


def test_a_text_that_fits_stays_and_a_longer_one_ends_in_dots():
    assert shorten("panda", 5) == "panda"
    assert shorten("a panda", 6) == "a p..."
    assert shorten("熊猫熊猫", 7) == "熊猫..."
    assert shorten("e\u0301e\u0301e\u0301e\u0301", 4) == "e\u0301e\u0301e\u0301e\u0301"
    assert shorten("e\u0301e\u0301e\u0301e\u0301e\u0301", 4) == "e\u0301..."
