"""What a model card says: its title, the models that it was made of, its languages."""

import os

import pytest
from rerank_core.checkpoints.model_card import ModelCard, read_card


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

    assert read_card(tmp_path).languages == languages


@pytest.mark.parametrize(
    ("card", "title"),
    [
        ("# A model\n## of ours\n", "A model"),
        ("---\nlicense: mit\n---\n\nWelcome.\n\n# A model\r\n", "A model"),
        ("---\n# better than another\nlicense: mit\n---\n# A model\n", "A model"),
        ("---\n# another, without an end\nlicense: mit\n# A model\n", ""),
        ("<!-- a template\n# of another -->\n# A model <!-- no other -->\n", "A model"),
        ("```bash\n# run another\n```\n# A model\n", "A model"),
        ("~~~\n# run another\n", ""),
        ("#no-heading\nA model\n", ""),
        ("\ufeff# A model\n", "A model"),
        ("\ufeff---\n# another, without an end\n", ""),
        ("", ""),
    ],
)
def test_the_title_is_the_first_heading_behind_the_metadata(card, title, tmp_path):
    (tmp_path / "README.md").write_text(card, encoding="utf-8", newline="")

    assert read_card(tmp_path).title == title


@pytest.mark.parametrize(
    ("metadata", "base_models"),
    [
        ("base_model: Qwen/Qwen3-Reranker-4B", ("Qwen/Qwen3-Reranker-4B",)),
        ("base_model:\n- Qwen/Qwen3-Reranker-4B\n- 'a/b' # c/d", ("Qwen/Qwen3-Reranker-4B", "a/b")),
        ("tags:\n- Qwen/Qwen3-Reranker-4B\nbase_models: a/b", ()),
        ("base_model: {Qwen/Qwen3-Reranker-4B: 1}", ()),
    ],
)
def test_a_card_says_what_a_model_was_made_of_in_its_metadata(metadata, base_models, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\nbase_model: e/f\n", encoding="utf-8")

    assert read_card(tmp_path).base_models == base_models


def test_a_card_that_is_absent_or_cannot_be_read_says_nothing(tmp_path):
    assert read_card(tmp_path) == ModelCard()

    os.mkfifo(tmp_path / "README.md")
    assert read_card(tmp_path) == ModelCard()
