"""A span says which characters of the node's own text won, whatever metadata is read before them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import Document, IndexNode, MetadataMode, NodeWithScore, TextNode
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions, Span
from rerank_integrations.adapters.own_text import own_span
from rerank_integrations.llama_index import RerankPostprocessor

TEXT = "Trains are punctual. The giant panda lives in China. Paris is a city."
PANDA = "The giant panda lives in China."
METADATA = {"file_path": "/data/panda.txt", "summary": TEXT}


def read_span(node: Any, mode: MetadataMode, part: str, text: str = TEXT) -> Span:
    """The characters of a part of the own text, in what is read; metadata that repeats the text comes before it."""
    start = node.get_content(metadata_mode=mode).rindex(text.strip()) + text.strip().index(part)
    return Span(start, start + len(part))


@pytest.mark.parametrize("kind", [TextNode, Document, IndexNode])
@pytest.mark.parametrize("mode", list(MetadataMode))
@pytest.mark.parametrize("text", [TEXT, f"\n  {TEXT} \n"])
def test_a_part_is_found_after_metadata_that_repeat_the_text(kind: Any, mode: MetadataMode, text: str) -> None:
    node = kind(text=text, metadata=METADATA, **({"index_id": "1"} if kind is IndexNode else {}))

    found = own_span(node, mode, read_span(node, mode, PANDA))

    assert found is not None
    assert text[found.start : found.end] == PANDA


@pytest.mark.parametrize("template", ["{metadata_str}\n{content}", "  {content}\n\n{metadata_str}", "<{content}>"])
def test_the_template_says_where_the_own_text_is(template: str) -> None:
    node = TextNode(text=f" {TEXT}", metadata={"a": "b"}, text_template=template)

    found = own_span(node, MetadataMode.ALL, read_span(node, MetadataMode.ALL, PANDA))

    assert found is not None
    assert node.text[found.start : found.end] == PANDA


def test_a_part_that_begins_in_the_metadata_is_cut_and_one_within_them_is_nothing() -> None:
    node = TextNode(text=TEXT, metadata={"author": "anonymous"})
    prefix = len("author: anonymous\n\n")

    assert own_span(node, MetadataMode.EMBED, Span(3, prefix + 7)) == Span(0, 7)
    assert own_span(node, MetadataMode.EMBED, Span(3, 9)) == Span(0, 0)


class Shouted(TextNode):
    """A kind of node whose text is read in other letters."""

    def get_content(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> str:
        return self.text if metadata_mode == MetadataMode.NONE else self.text.upper()


def test_a_text_that_is_not_found_in_what_is_read_has_no_span() -> None:
    assert own_span(Shouted(text=TEXT), MetadataMode.EMBED, Span(3, 9)) is None


_words = st.text(st.sampled_from("ab \n{}"), max_size=8)


@given(_words, st.dictionaries(st.text("ab", min_size=1), _words, max_size=2), st.sampled_from(MetadataMode), st.data())
def test_a_span_holds_the_characters_that_were_read(text: str, metadata: Any, mode: MetadataMode, data: Any) -> None:
    node = TextNode(text=text, metadata=metadata)
    read = node.get_content(metadata_mode=mode)
    first, last = sorted(data.draw(st.integers(0, len(read))) for _ in range(2))

    found = own_span(node, mode, Span(first, last))

    assert found is not None
    assert text[found.start : found.end] in read[first:last]


async def test_the_span_of_a_long_node_is_one_of_its_own_text(overlap: OverlapModel) -> None:
    text = " ".join(["a train"] * 60) + " the giant panda"
    nodes = [NodeWithScore(node=TextNode(text=text, metadata={"title": "a giant " * 3}))]
    postprocessor = RerankPostprocessor(scorer=overlap, options=ScoreOptions(long_documents="chunk", overlap_tokens=8))

    for found in (
        postprocessor.postprocess_nodes(nodes, query_str="the giant panda"),
        await postprocessor.apostprocess_nodes(nodes, query_str="the giant panda"),
    ):
        start, end = found[0].metadata["relevance_span"]
        assert text[start:end].endswith("the giant panda")
        assert text[start:end] in text
        assert end == len(text)
