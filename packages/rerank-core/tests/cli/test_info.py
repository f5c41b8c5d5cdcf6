import json

from rerank_core.cli import main


def test_info_says_what_a_model_is_and_how_it_would_run(tiny, capsys):
    assert main(["info", str(tiny("xlm-roberta"))]) == 0

    out = capsys.readouterr().out
    assert out.splitlines()[0] == str(tiny("xlm-roberta"))
    for fact in ["cross-encoder", "reference (plain transformers, which runs xlm-roberta)", "float32", "128 tokens"]:
        assert fact in out
    assert "not applied" in out


def test_info_calls_lite_what_it_is(lite, capsys):
    assert main(["info", "lite"]) == 0
    assert capsys.readouterr().out.startswith("bi-encoder, lite\n")


def test_info_may_be_read_by_programs(tiny, capsys):
    assert main(["info", str(tiny("bert")), "--json"]) == 0

    info = json.loads(capsys.readouterr().out)
    assert info["kind"] == "cross-encoder"
    assert info["max_length"] == 128
    assert info["revision"] is None


def test_a_model_that_is_not_there_is_one_line_and_code_1(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"rerank: {tmp_path / 'config.json'} is missing: {tmp_path} does not hold a model\n"
