import json
import shutil

from rerank_core.cli import main
from rerank_core.testing.checkpoints import edit_json
from rerank_core.testing.language_models import write_tiny_language_model


def test_info_says_what_a_model_is_and_how_it_would_run(tiny, capsys):
    assert main(["info", str(tiny("xlm-roberta"))]) == 0

    out = capsys.readouterr().out
    assert out.splitlines()[0] == str(tiny("xlm-roberta"))
    for fact in [
        "cross-encoder",
        "family      xlm-roberta",
        "packed (the fastest that runs xlm-roberta)",
        "float32",
        "head        the network's own\n",
        "prompt      -",
        "128 tokens (the files allow 128 and ask for nothing)",
        "raw score   logit",
        "on the right",
    ]:
        assert fact in out


def test_a_checkpoints_own_activation_is_reported_as_not_applied(tiny, tmp_path, capsys):
    directory = shutil.copytree(tiny("bert"), tmp_path / "copy")
    config = json.loads((directory / "config.json").read_text())
    activation = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    (directory / "config.json").write_text(json.dumps(config | activation))

    assert main(["info", str(directory)]) == 0
    assert "torch.nn.modules.linear.Identity, the checkpoint's own: not applied" in capsys.readouterr().out


def test_the_prompt_and_the_modules_of_a_chain_are_named(tiny, tmp_path, capsys):
    directory = shutil.copytree(tiny("bert", "bi-encoder"), tmp_path / "copy")
    edit_json(directory / "config_sentence_transformers.json", prompts={"query": "q: ", "document": ""})

    assert main(["info", str(directory)]) == 0

    out = capsys.readouterr().out
    for fact in [
        "head        mean pooling, Normalize",
        'prompt      "q: " before the query',
        "64 tokens (the files allow 128 and ask for 64)",
        "example     [CLS] q : what is a giant panda ? [SEP]",
    ]:
        assert fact in out


def test_the_example_is_the_pair_as_the_network_reads_it(tiny, capsys):
    assert main(["info", str(tiny("bert"))]) == 0

    assert "example     [CLS] what is a giant panda ? [SEP] the giant panda is a bear" in capsys.readouterr().out


def test_the_recipe_the_prompt_and_the_instruction_of_a_language_model_are_shown(tmp_path, capsys):
    directory = str(write_tiny_language_model(tmp_path, "qwen3"))

    assert main(["info", directory]) == 1
    assert "name a recipe with recipe= (qwen3-reranker, " in capsys.readouterr().err
    assert main(["info", directory, "--recipe", "qwen3-reranker", "--instruction", "Find bears."]) == 0

    out = capsys.readouterr().out
    for fact in [
        "kind        language-model",
        "recipe      qwen3-reranker",
        'instruction "Find bears."',
        "<Instruct>: Find bears.\\n<Query>: What is a giant panda?\\n<Document>: The giant panda is a bear species",
        "head        the output of the last token, logit of token",
        "example     <|im_start|> s",
        " ... ",
        "</think> Ċ Ċ\n",
    ]:
        assert fact in out


def test_info_calls_lite_what_it_is(lite, capsys):
    assert main(["info", "lite"]) == 0
    assert capsys.readouterr().out.startswith("bi-encoder, lite\n")


def test_info_may_be_read_by_programs(tiny, capsys):
    assert main(["info", str(tiny("bert")), "--json"]) == 0

    info = json.loads(capsys.readouterr().out)
    assert info["kind"] == "cross-encoder"
    assert info["max_length"] == info["position_limit"] == 128
    assert info["example_tokens"][0] == "[CLS]"
    assert info["revision"] is None


def test_a_model_that_is_not_there_is_one_line_and_code_1(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"rerank: {tmp_path / 'config.json'} is missing: {tmp_path} does not hold a model\n"
