"""A model in this process, and how to wait for one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rerank_core.errors import InvalidRequest
from rerank_core.forking import PerProcess
from rerank_core.inputs import DeprecatedOptions, score_options
from rerank_core.progress import keywords
from rerank_core.scorer import AsyncScorer, Scorer
from rerank_core.types import ScoreOptions, Scores

from rerank_integrations.threads import run_in_thread

if TYPE_CHECKING:
    from rerank_core.models.local import LocalModel

_loaded: dict[str, LocalModel] = {}  # by all that was asked for
_loading = PerProcess(threading.Lock)
_loading.get()  # before threads can ask for it


def local_scorer(model: str, **load_options: Any) -> Scorer:
    """Load a model that scores in this process: see ``rerank_core.load``, which takes the options.

    Raises what it raises, ``MissingExtra`` among them where nothing is installed that runs a model, and
    ``InvalidRequest`` for the address of a server.
    """
    if isinstance(model, str) and model.startswith(("http://", "https://")):
        raise InvalidRequest(f"{model.split('@')[-1]} is an address, not a model: use from_url")
    # Here, so that whoever scores over HTTP never comes near what runs a model.
    from rerank_core.loading import load

    return load(model, **load_options)


class ModelScorer:
    """A ``Scorer`` that can be sent to another process: pickled it is a name and options, and no weights.

    The model is loaded with the first score, once in a process whatever number of scorers ask for it with the same
    options, and stays until the process ends. ``model`` and ``load_options`` are those of ``rerank_core.load``; a
    directory must be there under the same name wherever the scorer is sent.

    Every method raises what ``rerank_core.load`` raises.
    """

    def __init__(self, model: str, **load_options: Any) -> None:
        self._model = model
        self._load_options = load_options

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in sorted(self._load_options.items()))
        return f"ModelScorer({self._model!r}{options})"

    def configuration(self) -> dict[str, Any]:
        """Return the settings that load it, as JSON has them: its name, and the options of ``rerank_core.load``."""
        options = self._load_options.items()
        return {"model": self._model, **{name: str(it) if isinstance(it, Path) else it for name, it in options}}

    @property
    def model(self) -> LocalModel:
        """The model itself."""
        with _loading.get():
            if repr(self) not in _loaded:
                from rerank_core.loading import load

                _loaded[repr(self)] = load(self._model, **self._load_options)
            return _loaded[repr(self)]

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        *,
        progress: bool = False,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """See ``LocalModel.score``."""
        return self.model.score(query, documents, score_options(options, deprecated), **keywords(progress))

    def score_pairs(
        self, pairs: Iterable[Sequence[str]], options: ScoreOptions | None = None, *, progress: bool = False
    ) -> Scores:
        """See ``LocalModel.score_pairs``."""
        return self.model.score_pairs(pairs, options, **keywords(progress))

    @property
    def independent(self) -> bool:
        """See ``StepwiseModel.independent``."""
        return self.model.independent

    def fingerprint(self) -> str:
        """See ``StepwiseModel.fingerprint``."""
        return self.model.fingerprint()


async def ascore(scorer: Scorer, query: str, documents: Iterable[str], options: ScoreOptions | None) -> Scores:
    """Await any scorer's scores without holding the event loop: a model in this process computes in another thread."""
    if isinstance(scorer, AsyncScorer):
        return await scorer.ascore(query, documents, options=options)
    return await run_in_thread(partial(scorer.score, query, documents, options=options))
