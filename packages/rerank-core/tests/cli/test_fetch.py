import pytest
import rerank_core
from rerank_core.cli import main


def test_fetch_says_what_it_wrote_and_the_copy_loads(tiny, tmp_path, capsys):
    source, target = tiny("bert"), tmp_path / "new" / "folder"

    assert main(["fetch", str(source), str(target)]) == 0

    size = sum(path.stat().st_size for path in source.iterdir())
    assert capsys.readouterr().out == f"{source}: 4 files, {size:,} bytes in {target}\n"
    assert rerank_core.load(str(target), device="cpu").info.name == str(source)


@pytest.mark.parametrize("reason", ["something else", "a file"])
def test_a_directory_that_cannot_be_filled_is_one_line_and_code_1(tiny, tmp_path, capsys, reason):
    target = tmp_path / "target"
    if reason == "a file":
        target.write_text("")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("")

    assert main(["fetch", str(tiny("bert")), str(target)]) == 1

    err = capsys.readouterr().err
    assert err.startswith(f"rerank: {target} ")
    assert reason in err
    assert err.count("\n") == 1


def test_a_model_that_is_not_there_leaves_no_directory_behind(tmp_path, capsys):
    assert main(["fetch", "./no-such-model-here/at/all", str(tmp_path / "target")]) == 1
    assert "there is no directory ./no-such-model-here/at/all" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()
