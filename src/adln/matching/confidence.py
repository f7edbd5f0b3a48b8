"""Confidence of searches, the threshold for going deeper, and query expansion.

Used by the cascade: the shallow network of Sec. III.C embeds everyone, and only crops whose search
has low confidence pass through the deeper stages. Confidence needs no ground truth: a confident
search finds the same person repeatedly among its best answers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import SettingsError

# Best answers; and the larger set they are compared with if persons are unknown.
ANSWERS = 10
MORE_ANSWERS = 50
# Temperature: an answer whose cosine is lower by this has 1/e of the weight.
_TEMPERATURE = 0.1
# Weight of the similarity, which breaks ties if all answers agree, but never outweighs them.
_TIE_BREAK = 1e-3


def confidence(
    similarity: NDArray[np.floating], person_ids: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Confidence of each search in its best answer.

    With persons: the share of the total weight of the ten best answers that belongs to the person
    of the best one, with weights exp(cosine / 0.1). Without: the mean of the ten best minus that of
    the fifty best.

    Args:
        similarity: (N, K) cosines, best first; padded with -inf if there are fewer answers.
        person_ids: (N, K) integers, the persons of the answers; negative ones are unknown, each
            counted as a different person. None if no persons are known.

    Returns:
        (N,) float64; higher is more confident. Values with and without persons cannot be compared
        with each other. A search without answers has -inf.

    Raises:
        SettingsError: the shapes differ, K is 0 (without persons: at most 10), or a similarity is
            NaN.
    """
    scores = _checked(similarity)
    there = np.isfinite(scores[:, 0])
    if person_ids is None:
        if scores.shape[1] <= ANSWERS:
            raise SettingsError(
                f"without persons, confidence compares the best {ANSWERS} answers with the best "
                f"{MORE_ANSWERS}; request {MORE_ANSWERS} answers, got {scores.shape[1]}."
            )
        found = _means(scores[:, :ANSWERS]) - _means(scores[:, :MORE_ANSWERS])
    else:
        if person_ids.shape != scores.shape:
            raise SettingsError(
                f"{scores.shape} similarities came with {person_ids.shape} person ids; "
                "expected one for each answer."
            )
        scores, persons = scores[:, :ANSWERS], person_ids[:, :ANSWERS]
        is_same = (persons == persons[:, :1]) & (persons >= 0)
        is_same[:, 0] = True
        found = (_weights(scores) * is_same).sum(axis=1) + _TIE_BREAK * _means(scores)
    return np.where(there, found, -np.inf)


def expand_queries(
    answers: NDArray[np.float32], similarity: NDArray[np.floating]
) -> NDArray[np.float32]:
    """A new query embedding for each search, made from those of its best answers only.

    The gallery contains embeddings of the deeper network. A confident search has found its own
    person there, and can search again with their deep embeddings, without further computation of
    the network. This is query expansion (Chum et al., "Total Recall", ICCV 2007) across depths.

    Args:
        answers: (N, K, D) embeddings of the best answers at the depth to be searched.
        similarity: (N, K) cosines of these answers, from any depth; best first.

    Returns:
        (N, D) float32 of unit length: mean of the ten best with weights exp(cosine / 0.1).

    Raises:
        SettingsError: the shapes differ, K is 0, or a similarity is NaN.
    """
    scores = _checked(similarity)
    if answers.ndim != 3 or answers.shape[:2] != scores.shape:
        raise SettingsError(
            f"{scores.shape} similarities came with embeddings {answers.shape}; "
            "expected (N, K, D), one for each answer."
        )
    weights = _weights(scores[:, :ANSWERS]).astype(np.float32)
    return unit_length(np.einsum("nk,nkd->nd", weights, answers[:, :ANSWERS]))


def threshold_for(values: NDArray[np.floating] | Sequence[float], share: float) -> float:
    """The confidence threshold that sends a given share of searches deeper.

    Args:
        values: confidence of representative searches; a few hundred or more.
        share: 0 to 1, the share that should go deeper.

    Returns:
        Searches with a confidence below it go deeper: -inf for none, inf for all.

    Raises:
        SettingsError: the share is out of range, or there are no values.
    """
    if not 0 <= share <= 1:
        raise SettingsError(f"the share must be between 0 and 1, got {share}.")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) == 0 or np.isnan(ordered).any():
        raise SettingsError("a threshold needs the confidence of some searches, none of them NaN.")
    count = round(share * len(ordered))
    if count == 0:
        return -np.inf
    return float(ordered[count]) if count < len(ordered) else np.inf


def _checked(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    scores = np.asarray(similarity, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0 or np.isnan(scores).any():
        raise SettingsError(
            f"expected similarities (N, K) of at least one answer, none NaN, got {scores.shape}."
        )
    return scores


def _weights(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised weight of each answer; zeros for a search without answers."""
    best = np.where(np.isfinite(scores[:, :1]), scores[:, :1], 0.0)
    weights = np.exp((scores - best) / _TEMPERATURE)
    shares: NDArray[np.float64] = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    return shares


def _means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row means over the existing answers; 0 if there are none."""
    there = np.isfinite(scores)
    sums = np.where(there, scores, 0.0).sum(axis=1)
    means: NDArray[np.float64] = sums / np.maximum(there.sum(axis=1), 1)
    return means
