"""Temperature scaling (Guo et al. 1706.04599, section 4.2): one number that makes label probabilities as sure as they are right.

    p_T(k) = p(k)^(1/T) / sum_j p(j)^(1/T),   T = argmin of the mean of -log p_T(label) over pairs no policy was trained or is tested on

The order of the labels, hence every answer, stays as it is.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

LEAST = 1e-12  #: smaller probabilities count as this much: a single certain mistake must not cost infinitely much
_RANGE = (0.05, 20.0)  #: of temperatures looked at (assumed)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, grades) probabilities at another temperature; 1 leaves them as they are."""
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = likelihood / likelihood.sum(axis=1, keepdims=True)
    return result


def nll(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(n,) -log probability of the right label, nats."""
    result: np.ndarray = -np.log(np.maximum(probabilities[np.arange(len(gold)), gold], LEAST))
    return result


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature of least nll of `labels` (n,) under `probabilities` (n, grades), between 0.05 and 20."""

    def loss(logarithm: float) -> float:
        return float(nll(labels, tempered(probabilities, math.exp(logarithm))).mean())

    return math.exp(minimize_scalar(loss, bounds=tuple(map(math.log, _RANGE)), method="bounded").x)
