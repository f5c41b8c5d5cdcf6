"""Turns the network's outputs into scores. Every call comes through here, so all give the same numbers."""

import math
from collections.abc import Mapping, Sequence

from rerank_core.errors import EngineError
from rerank_core.scorer import Output, PairModel
from rerank_core.types import Calibration, Encoding, ScoreOptions, Scores, Segment, Usage


def sigmoid(raw: float) -> float:
    """Compute 1 / (1 + exp(-raw)), in double precision, for any finite number."""
    return 1.0 / (1.0 + math.exp(-raw)) if raw > -700.0 else math.exp(raw)


def probability(raw: float, calibration: Calibration | None) -> float:
    """Map a raw score into [0, 1]: its sigmoid, or that of the calibrated score."""
    return sigmoid(raw if calibration is None else calibration.a * raw + calibration.b)


def distinct_segments(encodings: Sequence[Encoding]) -> list[Segment]:
    """List every segment once, in the order of first use."""
    return list(dict.fromkeys(segment for encoding in encodings for segment in encoding.segments))


def to_scores(
    model: PairModel, encodings: Sequence[Encoding], outputs: Mapping[Segment, Output], options: ScoreOptions
) -> Scores:
    """Combine outputs into scores, check them and scale them.

    ``outputs`` holds what ``model.forward`` said of each segment. Raises ``EngineError`` for a score that is not
    finite: it would sort anywhere, and JSON cannot say it.
    """
    raw_values, spans = [], []
    for encoding in encodings:
        raw, winner = model.combine(encoding, [outputs[segment] for segment in encoding.segments], options)
        if not math.isfinite(raw):
            raise EngineError(
                f"the model's score of document {encoding.pair} is {raw}, not a finite number: "
                "the weights are damaged, or the dtype is too small for them (try dtype='float32')"
            )
        raw_values.append(raw)
        spans.append(encoding.spans[winner] if encoding.spans else None)
    usage = Usage(
        pairs=len(encodings),
        tokens=sum(len(segment) for segment in distinct_segments(encodings)),
        truncated=sum(encoding.truncated for encoding in encodings),
    )
    scaled = raw_values if options.raw else [probability(raw, model.info.calibration) for raw in raw_values]
    return Scores(
        values=tuple(scaled),
        raw_values=tuple(raw_values),
        model=model.info.name,
        usage=usage,
        spans=tuple(spans) if any(spans) else None,
    )
