"""Turns the network's outputs into scores. Every call comes through here, so all give the same numbers."""

import math
from collections.abc import Mapping, Sequence

from rerank_core.errors import EngineError
from rerank_core.scorer import Output, StepwiseModel
from rerank_core.types import Calibration, Encoding, Scored, ScoreOptions, Scores, TokenSequence, Usage


def sigmoid(raw: float) -> float:
    """Compute 1 / (1 + exp(-raw)), in double precision, for any finite number."""
    return 1.0 / (1.0 + math.exp(-raw)) if raw > -700.0 else math.exp(raw)


def probability(raw: float, calibration: Calibration | None) -> float:
    """Map a raw score into [0, 1]: its sigmoid, or that of the calibrated score."""
    return sigmoid(raw if calibration is None else calibration.a * raw + calibration.b)


def distinct_sequences(encodings: Sequence[Encoding]) -> list[TokenSequence]:
    """List every sequence once, in the order of first use."""
    return list(dict.fromkeys(sequence for encoding in encodings for sequence in encoding.sequences))


def to_scores(
    model: StepwiseModel,
    encodings: Sequence[Encoding],
    outputs: Mapping[TokenSequence, Output],
    options: ScoreOptions,
) -> Scores:
    """Turn outputs into scores, in the order of the documents; check them and scale them.

    ``outputs`` holds what ``model.forward`` returned for each sequence. Raises ``EngineError`` for a score that is not
    finite: it would sort anywhere, and JSON cannot say it.
    """
    found: dict[int, Scored] = {}
    for encoding in encodings:
        scored = model.scores(encoding, [outputs[sequence] for sequence in encoding.sequences], options)
        for document, score in zip(encoding.documents, scored, strict=True):
            if not math.isfinite(score.raw):
                raise EngineError(
                    f"the model's score of document {document} is {score.raw}, not a finite number: "
                    "the weights are damaged, or the dtype is too small for them (try dtype='float32')"
                )
            found[document] = score
    ordered = [found[document] for document in sorted(found)]
    raw_values = tuple(score.raw for score in ordered)
    spans = tuple(score.span for score in ordered)
    usage = Usage(
        pairs=len(ordered),
        tokens=sum(len(sequence) for sequence in distinct_sequences(encodings)),
        truncated=sum(encoding.truncated for encoding in encodings),
    )
    return Scores(
        values=raw_values if options.raw else tuple(probability(raw, model.info.calibration) for raw in raw_values),
        raw_values=raw_values,
        model=model.info.name,
        usage=usage,
        spans=spans if any(spans) else None,
    )
