"""Functions of sixteen numbers: GELU, SiLU, and the powers of a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import fma, larger, power_of_two, round_even, smaller, splat

_F = np.float32
# erf(x) = x P(x^2) / Q(x^2) where |x| is at most this: the rational function of Eigen and XLA, within 4e-7. Behind it
# erf(x) is taken for 1 or -1. At this number the function, as it is computed below, gives exactly 1, so that GELU of a
# number far below 0 is exactly 0.
_MOST = _F(3.832507610321045)
_P6, _P5, _P4 = _F(-2.72614225801306e-10), _F(2.77068142495902e-08), _F(-2.10102402082508e-06)
_P3, _P2 = _F(-5.69250639462346e-05), _F(-7.34990630326855e-04)
_P1, _P0 = _F(-2.95459980854025e-03), _F(-1.60960333262415e-02)
_Q4, _Q3, _Q2 = _F(-1.45660718464996e-05), _F(-2.13374055278905e-04), _F(-1.68282697438203e-03)
_Q1, _Q0 = _F(-7.37332916720468e-03), _F(-1.42647390514189e-02)
_ROOT_HALF, _HALF, _ONE = _F(0.5**0.5), _F(0.5), _F(1)

LOG2_E = 1 / math.log(2)
NEVER = np.float32(-np.inf)
_LEAST_EXPONENT, _MOST_EXPONENT = np.float32(-126), np.float32(126)
_MINUS_LOG2_E = np.float32(-LOG2_E)
# 2^x for x from -1/2 to 1/2: the terms of e^(x ln 2), of which seven leave an error under 2e-8.
_TERMS = tuple(np.float32(math.log(2) ** power / math.factorial(power)) for power in range(7))
_TERM_0, _TERM_1, _TERM_2, _TERM_3, _TERM_4, _TERM_5, _TERM_6 = _TERMS


@kernel
def _erf(x: Any) -> Any:
    x = smaller(larger(x, splat(-_MOST)), splat(_MOST))
    square = x * x
    above = fma(square, splat(_P6), splat(_P5))
    above = fma(above, square, splat(_P4))
    above = fma(above, square, splat(_P3))
    above = fma(above, square, splat(_P2))
    above = fma(above, square, splat(_P1))
    above = fma(above, square, splat(_P0))
    below = fma(square, splat(_Q4), splat(_Q3))
    below = fma(below, square, splat(_Q2))
    below = fma(below, square, splat(_Q1))
    below = fma(below, square, splat(_Q0))
    return x * above / below


@kernel
def gelu(x: Any) -> Any:
    """Compute x (1 + erf(x / sqrt(2))) / 2."""
    half = x * splat(_HALF)
    return fma(half, _erf(x * splat(_ROOT_HALF)), half)


@kernel
def power_of(x: Any) -> Any:
    """Compute 2^x for x of at most 126; what is under 2^-126 becomes that."""
    x = larger(x, splat(_LEAST_EXPONENT))
    whole = round_even(x)
    part = x - whole
    value = fma(part, splat(_TERM_6), splat(_TERM_5))
    value = fma(value, part, splat(_TERM_4))
    value = fma(value, part, splat(_TERM_3))
    value = fma(value, part, splat(_TERM_2))
    value = fma(value, part, splat(_TERM_1))
    value = fma(value, part, splat(_TERM_0))
    return value * power_of_two(whole)


@kernel
def silu(x: Any) -> Any:
    """Compute x / (1 + e^-x)."""
    power = power_of(smaller(x * splat(_MINUS_LOG2_E), splat(_MOST_EXPONENT)))
    return x / (splat(_ONE) + power)
