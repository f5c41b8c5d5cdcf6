"""The languages that a model card names."""

import os

import pytest
from rerank_core.checkpoints.model_card import read_languages


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", ("en",)),
        ("---\nlicense: mit\nlanguage:\n- en\n- zh\n---", ("en", "zh")),
        ("\ufeff---\r\nlanguage: [de]\r\n---\r\n", ("de",)),
        ("---\nlicense: mit\n---\nlanguage: en\n", ()),
        ("# A model\n\n---\nlanguage: en\n---\n", ()),
        ("---\nlanguage: {en: 1}\n---\n", ()),
        ("---\nlanguage: [en, 7, no]\n---\n", ("en",)),
        ("---\nlanguage: [en\n---\n", ()),
        ("---\n2026-99-99\n---\n", ()),
        ("---\n" + "[" * 10_000 + "\n---\n", ()),
        ("---\nlanguage: en\n" + "# long\n" * 10_000 + "---\n", ()),
        ("", ()),
    ],
)
def test_a_card_says_which_languages_a_model_is_for(card, languages, tmp_path):
    (tmp_path / "README.md").write_text(card, encoding="utf-8", newline="")

    assert read_languages(tmp_path) == languages


def test_a_card_that_is_absent_or_cannot_be_read_says_nothing(tmp_path):
    assert read_languages(tmp_path) == ()

    os.mkfifo(tmp_path / "README.md")
    assert read_languages(tmp_path) == ()
