import pickle

import pytest
from rerank_core.errors import InvalidRequest, Unauthorized
from rerank_integrations.http.api_key import ApiKey


@pytest.mark.parametrize(
    ("given", "key"), [("mine", "mine"), (" mine\n", "mine"), ("", ""), (lambda: "mine\n", "mine")]
)
def test_a_key_is_what_was_given(given: object, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is empty: then none is sent, whatever the environment says."""
    monkeypatch.setenv("RERANK_API_KEY", "another")

    assert ApiKey.of(given).now() == key


def test_without_one_the_environment_has_it_when_the_scorer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiKey.of(None).now() == ""

    monkeypatch.setenv("RERANK_API_KEY", "first\n")
    key = ApiKey.of(None)
    monkeypatch.setenv("RERANK_API_KEY", "second")

    assert key.now() == "first"


def test_a_key_that_no_header_can_carry_is_refused_with_the_name_of_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_API_KEY", "se cret")

    with pytest.raises(InvalidRequest, match=r"^RERANK_API_KEY holds white space"):
        ApiKey.of(None)
    with pytest.raises(InvalidRequest, match=r"^api_key is of type bytes: use a string, or a callable"):
        ApiKey.of(b"secret")


@pytest.mark.parametrize("returned", ["se cret", "sécret", 0.25, b"mine"])
def test_a_callable_without_a_usable_key_is_no_authority(returned: object) -> None:
    with pytest.raises(Unauthorized, match=r"what api_key\(\) returned") as caught:
        ApiKey.of(lambda: returned).now()

    assert str(returned) not in str(caught.value)


def test_a_callable_that_fails_is_named_by_its_error_only() -> None:
    def fail() -> str:
        raise LookupError("secret")

    with pytest.raises(Unauthorized, match=r"api_key\(\) failed with LookupError") as caught:
        ApiKey.of(fail).now()

    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, LookupError)


def test_it_is_pickled_and_never_shown() -> None:
    key = ApiKey.of("secret")

    assert repr(key) == "ApiKey()"
    assert pickle.loads(pickle.dumps(key)).now() == "secret"
