"""Temperatures: how sure a table of probabilities is made, without changing what it predicts.

SciPy is loaded by the function that minimises: it takes longer than averaging does.
"""

import numpy as np
import pandas as pd

from src.evidence import FLOOR

COLDEST, HOTTEST = 0.1, 10.0


def fit_temperature(probs: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that gives `probs` (images, classes) the least log-loss (Guo et al. 2017).

    Above 1 the model was too sure of itself. `truth` (images,) is the column of each label.
    """
    from scipy.optimize import minimize_scalar

    against = logs(probs.T.astype(np.float32, order="C"))  # (classes, images): summed faster
    against -= against[truth, np.arange(len(truth))]

    def _loss(log_heat: float) -> float:
        return float(np.log(np.exp(against * np.float32(np.exp(-log_heat))).sum(axis=0)).mean())

    bounds = np.log([COLDEST, HOTTEST])
    return float(np.exp(minimize_scalar(_loss, bounds=bounds, options={"xatol": 0.01}).x))


def temper(probs: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """`probs` (…, classes) with their logarithms divided by `temperature`."""
    return softmax(logs(probs) / temperature)


def temper_table(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """`table` with `temperature`; itself at 1."""
    if temperature == 1:
        return table
    values = temper(table.to_numpy(dtype=np.float64), temperature)
    return pd.DataFrame(values, table.index, table.columns)


def logs(probs: np.ndarray) -> np.ndarray:
    """Logarithms, of at least FLOOR."""
    return np.log(np.maximum(probs, probs.dtype.type(FLOOR)))


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Probabilities from `logits` along `axis`."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)
