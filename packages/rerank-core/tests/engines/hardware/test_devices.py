import pytest
import rerank_core
import torch
from rerank_core import InvalidRequest, ScoreOptions
from rerank_core.engines.hardware.devices import choose_device, choose_dtype


@pytest.fixture
def machine(monkeypatch):
    """Says which devices there are."""

    def has(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("there", "device"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": 1}, "cuda"), ({"cuda": 1, "mps": True}, "cuda")],
)
def test_the_best_device_that_is_there_is_taken(machine, there, device):
    machine(**there)

    assert choose_device("auto") == device


def test_the_device_that_is_asked_for_is_taken(machine):
    machine(cuda=2)

    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(machine, wanted):
    machine()

    with pytest.raises(InvalidRequest, match=rf"device='{wanted}' is not to be had here \(there is: cpu\)"):
        choose_device(wanted)


def test_a_gpu_beyond_the_last_is_refused(machine):
    machine(cuda=2)

    with pytest.raises(InvalidRequest, match=r"device='cuda:2' is not to be had here \(there is: cpu, cuda\)"):
        choose_device("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "CUDA"])
def test_a_device_that_is_none_is_refused_with_the_names(machine, wanted):
    """``cpu:0`` among them: it would be a CPU that does not go by that name, and half precision would pass on it."""
    machine(cuda=1)

    with pytest.raises(InvalidRequest, match=f"device is '{wanted}': use one of auto, cpu, cuda, mps, or cuda:1"):
        choose_device(wanted)


def test_float32_is_what_is_computed_with_unless_another_is_asked_for():
    assert [choose_dtype("auto", device) for device in ("cpu", "cuda", "mps")] == ["float32"] * 3
    assert choose_dtype("float32", "cpu") == "float32"
    assert choose_dtype("float16", "cuda") == "float16"
    assert choose_dtype("bfloat16", "cuda:1") == "bfloat16"


@pytest.mark.parametrize(
    ("dtype", "device", "there"),
    [
        ("float16", "cpu", "float32, float16-weights, bfloat16, int8"),
        ("int8", "cuda:1", "float32, float16, bfloat16"),
        ("float16-weights", "cuda", "float32, float16, bfloat16"),
        ("bfloat16", "mps", "float32, float16"),
    ],
)
def test_a_dtype_that_a_device_does_not_have_is_refused_with_those_that_it_has(dtype, device, there):
    with pytest.raises(InvalidRequest, match=f"dtype='{dtype}' is not for {device[:3]}.*: use one of {there}"):
        choose_dtype(dtype, device)


@pytest.mark.parametrize("dtype", ["float64", "fp16", ""])
def test_a_dtype_that_is_none_is_refused_with_the_names(dtype):
    names = "auto, float32, float16-weights, float16, bfloat16, int8"
    with pytest.raises(InvalidRequest, match=f"dtype is '{dtype}': use one of {names}"):
        choose_dtype(dtype, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: none is here")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gpu_gives_the_scores_of_the_cpu(tiny, tiny_model, dtype):
    documents = ["the giant panda", "bamboo", "panda " * 400]
    golden = tiny_model("bert").score("a panda", documents, ScoreOptions(raw=True)).values

    model = rerank_core.load(str(tiny("bert")), device="cuda", dtype=dtype)

    assert (model.info.device, model.info.dtype) == ("cuda", dtype)
    tolerance = 1e-4 if dtype == "float32" else 0.1
    assert model.score("a panda", documents, ScoreOptions(raw=True)).values == pytest.approx(golden, abs=tolerance)
