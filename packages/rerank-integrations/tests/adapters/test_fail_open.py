import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    InputTooLong,
    InvalidRequest,
    MissingExtra,
    Overloaded,
    RerankError,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
)
from rerank_integrations.adapters.fail_open import FailOpen, may_pass
from rerank_integrations.http.environment import UnusableEnvironment
from rerank_integrations.http.protocol import NotARerankServer

log = logging.getLogger("a search")


@pytest.mark.parametrize(
    "kind",
    [
        RerankError,
        Unavailable,
        Overloaded,
        DeadlineExceeded,
        EngineError,
        MissingExtra,
        Unauthorized,
        NotARerankServer,
        UnusableEnvironment,
    ],
)
def test_a_search_can_do_without_a_reranker_that_fails(kind: type[RerankError]) -> None:
    assert may_pass(kind("no"))


@pytest.mark.parametrize("kind", [InvalidRequest, InputTooLong, TooManyDocuments])
def test_what_the_caller_must_change_is_an_error_all_the_same(kind: type[RerankError]) -> None:
    assert not may_pass(kind("no"))
    with pytest.raises(kind):
        FailOpen().accept(kind("no"), "passthrough", log)


def test_an_error_is_raised_where_that_is_wanted() -> None:
    with pytest.raises(Overloaded):
        FailOpen().accept(Overloaded("no"), "raise", log)


def test_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = FailOpen()
    outage.recovered()

    for failures in (3, 2):
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: outage.accept(Overloaded("no room"), "passthrough", log), range(failures)))
        outage.recovered()
        outage.recovered()

    assert [(record.levelname, record.name) for record in caplog.records] == [("WARNING", "a search")] * 2
    assert caplog.messages[0].endswith("the retriever's own order is used: no room")


def test_it_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(FailOpen())) == FailOpen()
