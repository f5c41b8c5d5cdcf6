"""Checkpoints that sentence-transformers saved: our scores are the library's, and what we do not do is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.checkpoints.checkpoint import read_checkpoint
from rerank_core.checkpoints.sources import locate
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint
from safetensors.torch import load_file, save_file

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
            "message": {"method": "forward", "method_output_name": "logits", "format": "flat"}}},
            "chat_template.jinja is missing"),
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


# ---------------------------------------------------------------------------- a prompt, and modules behind the network


@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_a_default_prompt_stands_before_the_query(library, tiny, tmp_path, engine):
    prompts = {"web": "which passage is about ", "none": ""}
    theirs = saved_cross_encoder(library, tiny("bert"), tmp_path, prompts=prompts, default_prompt_name="web")
    pairs = [("a panda", document) for document in DOCUMENTS]
    golden = theirs.predict(pairs, activation_fn=torch.nn.Identity())
    plain = theirs.predict(pairs, activation_fn=torch.nn.Identity(), prompt_name="none")

    ours = load(tmp_path, engine=engine).score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(golden.tolist(), abs=1e-5)
    assert list(ours) != pytest.approx(plain.tolist(), abs=1e-3)


def saved_chain(library, target: Path, family: str, modules: Any, **arguments: Any) -> Any:
    """A chain of the library's own modules on a random network, as the library saves it."""
    plain = write_tiny_checkpoint(target / "plain", family, kind="bi-encoder")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformer = library.sentence_transformer.modules.Transformer(str(plain))
        kind = library.SentenceTransformer if "similarity_fn_name" in arguments else library.CrossEncoder
        model = kind(modules=[transformer, *modules(library.sentence_transformer.modules)], device="cpu", **arguments)
        for name, parameter in model.named_parameters():
            if not name.startswith("0."):  # else the activations would hardly bend
                torch.nn.init.normal_(parameter, 0.0, 0.5)
    model.save_pretrained(str(target / "saved"))
    return model


CHAINS = {
    # As ettin-reranker has it.
    "dense, norm, dense": ("cls", lambda of: [
        of.Dense(32, 32, bias=False, activation_function=torch.nn.GELU()),
        of.LayerNorm(32),
        of.Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]),
    "wider, narrower": ("mean", lambda of: [
        of.Dense(32, 48, activation_function=torch.nn.SiLU()),
        of.Dropout(0.5),
        of.Dense(48, 5, activation_function=torch.nn.Tanh()),
        of.Dense(5, 1, bias=False, activation_function=torch.nn.Sigmoid(), module_output_name="scores"),
    ]),
    "one dense": ("lasttoken", lambda of: [
        of.Dense(32, 1, bias=False, activation_function=None, module_output_name="scores"),
    ]),
    "largest": ("max", lambda of: [
        of.LayerNorm(32),
        of.Dense(32, 1, activation_function=torch.nn.ReLU(), module_output_name="scores"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["packed", "reference"])
@pytest.mark.parametrize("family", ["modernbert", "bert"])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_of_modules_gives_the_scores_of_the_library(library, tmp_path, family, chain, engine):
    pooling, layers = CHAINS[chain]
    arguments = {"activation_fn": torch.nn.Identity(), "prompts": {"web": "find "}, "default_prompt_name": "web"}
    theirs = saved_chain(library, tmp_path, family, lambda of: [of.Pooling(32, pooling), *layers(of)], **arguments)
    golden = [theirs.predict([("a panda", document)]).item() for document in DOCUMENTS]

    model = load(tmp_path / "saved", engine=engine)
    ours = model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert (model.info.kind, model.info.raw_score) == ("cross-encoder", "logit")
    assert model.info.activation.endswith("Identity")
    assert list(ours) == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert len(set(ours)) > 1
    assert ours == tuple(model.score("a panda", [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS)


@pytest.mark.parametrize("name", ["cosine", "dot"])
@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_a_bi_encoders_embeddings_may_go_through_dense_layers(library, tmp_path, name, engine):
    def modules(of: Any) -> list[Any]:
        return [of.Pooling(32, "mean"), of.Dense(32, 40), of.Dense(40, 8, bias=False), of.Normalize()]

    theirs = saved_chain(library, tmp_path, "bert", modules, similarity_fn_name=name)
    query = theirs.encode_query(["a panda"])
    golden = [theirs.similarity(query, theirs.encode_document([document])).item() for document in DOCUMENTS]

    ours = load(tmp_path / "saved", engine=engine).score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert list(ours) == pytest.approx(golden, abs=1e-5)


@pytest.mark.parametrize("normalizes", [True, False])
@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean"])
def test_only_the_dimensions_that_the_model_asks_for_are_compared(library, tmp_path, name, normalizes):
    """Of a model that was trained so that few will do (Matryoshka)."""

    def modules(of: Any) -> list[Any]:
        return [of.Pooling(32, "mean"), *([of.Normalize()] if normalizes else [])]

    theirs = saved_chain(library, tmp_path, "bert", modules, similarity_fn_name=name, truncate_dim=5)
    query = theirs.encode_query(["a panda"])
    golden = [theirs.similarity(query, theirs.encode_document([document])).item() for document in DOCUMENTS]

    model = load(tmp_path / "saved")
    ours = model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    assert query.shape == (1, 5)
    assert list(ours) == pytest.approx(golden, abs=1e-5)
    assert "the first 5 dimensions" in read_checkpoint(locate(str(tmp_path / "saved"))).head.description


def test_a_dense_layer_of_an_old_file_has_the_tanh_that_it_does_not_name(library, tmp_path):
    theirs = saved_chain(
        library, tmp_path, "bert", lambda of: [of.Pooling(32, "mean"), of.Dense(32, 16)], similarity_fn_name="dot"
    )
    golden = theirs.similarity(theirs.encode_query(["a panda"]), theirs.encode_document(DOCUMENTS[:1])).item()
    path = tmp_path / "saved" / "2_Dense" / "config.json"
    path.write_text(json.dumps({"in_features": 32, "out_features": 16, "bias": True}))

    assert raw(tmp_path / "saved", "a panda", DOCUMENTS[:1]) == pytest.approx([golden], abs=1e-5)


@pytest.mark.parametrize(
    ("file", "fields", "says"),
    [
        ("2_Dense/config.json", {"activation_function": "mine.Swish"}, "activation_function is 'mine.Swish'"),
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.PReLU"}, "PReLU"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("2_Dense/config.json", {"in_features": 16}, "reads 16 numbers, and is given 32"),
        ("2_Dense/config.json", {"out_features": 16}, "asks for {'linear.weight': (16, 32)"),
        ("2_Dense/config.json", {"out_features": "many"}, "out_features is 'many'"),
        ("2_Dense/config.json", {"bias": True}, "'linear.bias': (32,)"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "reads 'token_embeddings'"),
        ("4_Dense/config.json", {"module_output_name": None}, "gives 'sentence_embedding'"),
        ("3_LayerNorm/config.json", {"dimension": 31}, "reads 31 numbers, and is given 32"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "cls and mean pooling"),
    ],
)
@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_a_module_that_is_not_computed_is_refused_by_its_file(library, tmp_path, file, fields, says, engine):
    pooling, layers = CHAINS["dense, norm, dense"]
    saved_chain(library, tmp_path, "bert", lambda of: [of.Pooling(32, pooling), *layers(of)])
    edit_json(tmp_path / "saved" / file, **fields)

    message = refusal(tmp_path / "saved", engine=engine)

    assert says in message
    assert str(tmp_path / "saved" / file.split("/")[0]) in message


def test_an_unknown_module_is_refused_by_its_name(library, tmp_path):
    pooling, layers = CHAINS["dense, norm, dense"]
    saved_chain(library, tmp_path, "bert", lambda of: [of.Pooling(32, pooling), *layers(of)])
    path = tmp_path / "saved" / "modules.json"
    modules = json.loads(path.read_text())
    modules[3]["type"] = "sentence_transformers.sentence_transformer.modules.word_weights.WordWeights"
    path.write_text(json.dumps(modules))

    assert "lists WordWeights as module 4, which is not supported there" in refusal(tmp_path / "saved")

    path.write_text(json.dumps(modules[:3]))
    assert "gives 'sentence_embedding'" in refusal(tmp_path / "saved")


def test_weights_of_a_module_that_are_a_pickle_are_refused_and_never_opened(library, tmp_path):
    pooling, layers = CHAINS["dense, norm, dense"]
    saved_chain(library, tmp_path, "bert", lambda of: [of.Pooling(32, pooling), *layers(of)])
    folder = tmp_path / "saved" / "2_Dense"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'false'\ntR.")

    assert f"{folder / 'pytorch_model.bin'} is a pickle" in refusal(tmp_path / "saved")


def test_another_weight_behind_the_network_is_another_model(library, tmp_path):
    """Scores that are kept are never those of another model."""
    pooling, layers = CHAINS["one dense"]
    saved_chain(library, tmp_path, "bert", lambda of: [of.Pooling(32, pooling), *layers(of)])
    path = tmp_path / "saved" / "2_Dense" / "model.safetensors"
    before = load(tmp_path / "saved").fingerprint()
    save_file({name: -tensor for name, tensor in load_file(path).items()}, path)

    assert load(tmp_path / "saved").fingerprint() != before
