"""Whatever the program around a model has set for itself, its scores are the same, and its settings too afterwards."""

import contextlib
import sys
import threading
import warnings

import numpy as np
import pytest
import rerank_core
import torch
from rerank_core import InvalidRequest, ScoreOptions
from rerank_core.engines.torch_settings import our_settings
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DOCUMENTS = ["bamboo", "a panda eats bamboo", "paris is the capital of france", "panda " * 30, ""]


@contextlib.contextmanager
def put(read, write, value):
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


def attribute(owner, name, value):
    return put(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), value)


def default_dtype(dtype):
    return put(torch.get_default_dtype, torch.set_default_dtype, dtype)


def quantized_engine(name):
    if name not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {name} here")
    return attribute(torch.backends.quantized, "engine", name)


@contextlib.contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class Refusing(TorchFunctionMode):
    """A mode through which no call of torch gets."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} went through the caller's mode")


class RefusingDispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} went through the caller's mode")


HOSTS = {
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "a default device": lambda: put(lambda: None, torch.set_default_device, "meta"),
    "a device as a context": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "a mode of torch's functions": Refusing,
    "a mode of torch's dispatcher": RefusingDispatch,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "deterministic algorithms": lambda: put(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "medium precision": lambda: put(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "bfloat16 in oneDNN": lambda: attribute(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    "TF32 everywhere": lambda: attribute(torch.backends, "fp32_precision", "tf32"),
    "no oneDNN": lambda: attribute(torch.backends.mkldnn, "enabled", False),
    "another attention kernel": lambda: sdpa_kernel(SDPBackend.MATH),
    "another engine of quantised products": lambda: quantized_engine("qnnpack"),
    "no denormal numbers": lambda: put(lambda: False, torch.set_flush_denormal, True),
    "one thread": lambda: put(torch.get_num_threads, torch.set_num_threads, 1),
    "five threads": lambda: put(torch.get_num_threads, torch.set_num_threads, 5),
    "numpy's errors raised": lambda: np.errstate(all="raise"),
    "warnings as errors": warnings_as_errors,
    "a short switch interval": lambda: put(sys.getswitchinterval, sys.setswitchinterval, 1e-6),
}  # fmt: skip


def settings():
    precision = torch._C._get_fp32_precision_getter
    return {
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "precision": [precision(name, kind) for name in ("mkldnn", "cuda") for kind in ("all", "matmul")],
        "onednn": torch.backends.mkldnn.enabled,
        "attention": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()),
        "quantised": torch.backends.quantized.engine,
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "numpy": np.geterr(),
    }


@pytest.fixture(scope="module")
def loaded(tiny):
    """Each way of computing, loaded once in peace, with the scores that it gives in peace."""
    ways = {}

    def load(engine, dtype, kind):
        model = rerank_core.load(str(tiny("bert", kind)), engine=engine, dtype=dtype, device="cpu")
        return model, model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values

    def find(*way):
        try:
            if way not in ways:
                ways[way] = load(*way)
        except InvalidRequest as error:
            pytest.skip(str(error))
        return ways[way]

    return find


@pytest.mark.parametrize(
    "way",
    [
        ("packed", "float32", "cross-encoder"),
        ("packed", "float32", "bi-encoder"),
        ("packed", "float16-weights", "cross-encoder"),
        ("packed", "int8", "cross-encoder"),
        ("packed", "bfloat16", "cross-encoder"),
        ("reference", "float32", "cross-encoder"),
        ("reference", "float32", "bi-encoder"),
        ("reference", "bfloat16", "cross-encoder"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
def test_a_score_does_not_depend_on_what_the_program_around_has_set(loaded, tiny, way, host):
    model, wanted = loaded(*way)
    engine, dtype, kind = way

    with host():
        before = settings()
        while_set = model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values
        other = rerank_core.load(str(tiny("bert", kind)), engine=engine, dtype=dtype, device="cpu")
        loaded_while_set = other.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values
        after = settings()

    afterwards = other.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values
    if engine == "reference":  # it has the threads of its load, whose number changes MKL's sums on some processors
        wanted = pytest.approx(wanted, abs=1e-6 if dtype == "float32" else 1e-2)
    assert while_set == wanted
    assert loaded_while_set == wanted
    assert afterwards == wanted
    assert after == before


def test_the_settings_of_the_program_come_back_when_the_last_of_several_models_is_done():
    inside, leave = threading.Barrier(3), threading.Event()

    def compute():
        with our_settings():
            inside.wait(10)
            leave.wait(10)

    with default_dtype(torch.float64):
        threads = [threading.Thread(target=compute) for _ in range(2)]
        for thread in threads:
            thread.start()
        inside.wait(10)
        with our_settings():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float32  # two compute still
        leave.set()
        for thread in threads:
            thread.join()
        assert torch.get_default_dtype() == torch.float64


def test_the_settings_of_the_program_come_back_after_a_failure():
    def fail():
        with our_settings():
            raise MemoryError

    with default_dtype(torch.float64):
        with pytest.raises(MemoryError):
            fail()
        assert torch.get_default_dtype() == torch.float64


def test_a_new_thread_of_the_program_has_as_many_of_torchs_threads_as_before(tiny):
    """Workers compute with one thread, and torch keeps the number that was set last for threads to come."""
    found = []
    before = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    before.start()
    before.join()

    rerank_core.load(str(tiny("bert")), engine="reference").score("a panda", ["bamboo"])
    rerank_core.load(str(tiny("bert")), engine="packed").score("a panda", ["bamboo"])

    after = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    after.start()
    after.join()
    assert found[0] == found[1]
