"""Checkpoints that sentence-transformers saved: our scores are the library's, and what we do not do is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint

DOCUMENTS = ["bamboo", "a giant panda lives in china", "Paris is the capital of france", "", "panda " * 300]


def load(directory: Path, **arguments: Any) -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", **arguments)


def refusal(directory: Path, **arguments: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(directory, **arguments)
    return str(caught.value)


def raw(directory: Path, query: str, documents: list[str], **options: Any) -> list[float]:
    return list(load(directory).score(query, documents, options=ScoreOptions(raw=True, **options)).values)


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("sentence_transformers", reason="needs sentence-transformers to compare with")


def saved_cross_encoder(library, source: Path, target: Path, **arguments: Any) -> Any:
    model = library.CrossEncoder(str(source), device="cpu", **arguments)
    model.save_pretrained(str(target))
    return model


@pytest.mark.parametrize("activation", [torch.nn.Sigmoid(), torch.nn.Identity(), torch.nn.Tanh()])
@pytest.mark.parametrize("length", [None, 40])
def test_a_cross_encoder_that_the_library_saved_has_the_librarys_logits(library, tiny, tmp_path, activation, length):
    theirs = saved_cross_encoder(library, tiny("bert"), tmp_path, max_length=length, activation_fn=activation)
    golden = theirs.predict([("a panda", document) for document in DOCUMENTS], activation_fn=torch.nn.Identity())

    model = load(tmp_path)

    assert list(model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values) == pytest.approx(
        golden.tolist(), abs=1e-5
    )
    assert model.info.activation.endswith(type(activation).__name__)
    assert model.info.max_length == (length or 128)


def test_lower_case_and_length_of_the_first_module_are_honoured(library, tiny, tmp_path):
    saved_cross_encoder(library, tiny("bert"), tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit_json(tmp_path / "sentence_bert_config.json", do_lower_case=True, max_seq_length=50)
    documents = ["A PANDA Eats BAMBOO " * 40]
    golden = library.CrossEncoder(str(tmp_path), device="cpu").predict(
        [("A Panda", document) for document in documents], activation_fn=torch.nn.Identity()
    )

    assert raw(tmp_path, "A Panda", documents) == pytest.approx(golden.tolist(), abs=1e-5)
    assert load(tmp_path).info.max_length == 50


@pytest.mark.parametrize(
    ("file", "fields", "says"),
    [
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "transformer_task is 'text-generation'"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "forward"},
            "message": {"method": "forward", "method_output_name": "logits", "format": "flat"}}}, "has a message"),
        ("sentence_bert_config.json", {"modality_config": {"image": {}}}, "modality_config has no text"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "encode"}}}, "of 'encode'"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"add_special_tokens": False}}},
         "add_special_tokens=False"),
        ("sentence_bert_config.json", {"processing_kwargs": {"common": {"truncation": "only_second"}}},
         "truncation='only_second'"),
        ("sentence_bert_config.json", {"processing_kwargs": [1]}, "processing_kwargs is [1]"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length or max_length is 'long'"),
        ("sentence_bert_config.json", {"max_seq_length": 3}, "asks for 3 tokens"),
        ("sentence_bert_config.json", {"do_lower_case": "yes"}, "do_lower_case is 'yes'"),
        ("sentence_bert_config.json", {"query_length": 32}, "query_length is not supported"),
        ("config_sentence_transformers.json", {"default_prompt_name": "web", "prompts": {"web": "find "}},
         "default_prompt_name"),
        ("config_sentence_transformers.json", {"default_prompt_name": "web"}, "default_prompt_name is 'web'"),
        ("config_sentence_transformers.json", {"prompts": [1]}, "prompts is not an object"),
    ],
)  # fmt: skip
def test_what_the_library_would_do_and_is_not_done_here_is_refused_by_name(library, tiny, tmp_path, file, fields, says):
    saved_cross_encoder(library, tiny("bert"), tmp_path)
    edit_json(tmp_path / file, **fields)

    message = refusal(tmp_path)

    assert says in message
    assert str(tmp_path) in message


def test_arguments_of_the_tokenizer_that_change_nothing_are_no_reason(library, tiny, tmp_path):
    saved_cross_encoder(library, tiny("bert"), tmp_path)
    before = raw(tmp_path, "a panda", DOCUMENTS)
    edit_json(
        tmp_path / "sentence_bert_config.json",
        processing_kwargs={"common": {"padding": "max_length", "return_tensors": "pt"}, "text": {"truncation": True}},
    )

    assert raw(tmp_path, "a panda", DOCUMENTS) == before


@pytest.mark.parametrize("name", [None, "cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("normalize", [False, True])
def test_embeddings_are_compared_as_the_checkpoint_says(library, tmp_path, name, normalize):
    modules = library.sentence_transformer.modules
    plain = write_tiny_checkpoint(tmp_path / "plain", "bert", kind="bi-encoder")
    chain = [
        modules.Transformer(str(plain)),
        modules.Pooling(32, "mean"),
        *([modules.Normalize()] if normalize else []),
    ]
    library.SentenceTransformer(modules=chain, similarity_fn_name=name, device="cpu").save(str(tmp_path / "saved"))
    theirs = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    query = theirs.encode_query(["a panda"])
    golden = [theirs.similarity(query, theirs.encode_document([document])).item() for document in DOCUMENTS]

    model = load(tmp_path / "saved")
    ours = model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert list(model.score("a panda", DOCUMENTS).values) == pytest.approx([1 / (1 + math.exp(-x)) for x in ours])
