"""Confidence: how sure a search is, who goes deeper for it, and query expansion.

Serves the cascade: the shallow network of Sec. III.C embeds everybody, and only those whose answer
is unsure go on through the deeper stages. Nobody has to say whether an answer is right: a search
that is sure finds the same person again and again among its best answers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import SettingsError

# Answers that speak for themselves, and those that they are held against where no person is known.
ANSWERS = 10
MORE_ANSWERS = 50
# An answer whose cosine is less by so much speaks with 1/e of the weight.
_TEMPERATURE = 0.1
# Where all answers agree, the higher similarity decides; too little to overrule a disagreement.
_TIE_BREAK = 1e-3


def confidence(
    similarity: NDArray[np.floating], person_ids: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """How sure each search is of its best answer.

    With persons: the share of the weight of the ten best answers that speaks for the person of the
    best one, where an answer's weight is exp(cosine / 0.1). Without: how far the mean of the ten
    best stands above that of the fifty best.

    Args:
        similarity: (N, K) cosines, best first; padded with -inf where there are fewer answers.
        person_ids: (N, K) whole numbers, whom the answers show; negative where nobody knows, each
            of which counts as another person. None if persons are not known at all.

    Returns:
        (N,) float64; larger is surer. The two kinds cannot be compared with each other. A search
        without any answer has -inf.

    Raises:
        SettingsError: the shapes differ, K is 0 (without persons: at most 10), or a similarity is
            NaN.
    """
    scores = _checked(similarity)
    there = np.isfinite(scores[:, 0])
    if person_ids is None:
        if scores.shape[1] <= ANSWERS:
            raise SettingsError(
                f"without persons, confidence holds the best {ANSWERS} answers against the best "
                f"{MORE_ANSWERS}; ask the gallery for {MORE_ANSWERS}, got {scores.shape[1]}."
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
    """An embedding for each search, made of those of its best answers: a query's own goes unused.

    The gallery holds what the deeper network made of its pictures. A search that is sure has found
    pictures of its own person there, and may go on searching with their deep embeddings, which
    costs no computation. This is query expansion (Chum et al., "Total Recall", ICCV 2007), across
    depths.

    Args:
        answers: (N, K, D) embeddings of the best answers at the depth to be searched.
        similarity: (N, K) cosines by which they were found, at any depth; best first.

    Returns:
        (N, D) float32 of unit length: the mean of the ten best by weight exp(cosine / 0.1).

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
    """The threshold below which a share of searches is unsure.

    Args:
        values: confidence of searches like those to come; a few hundred or more.
        share: 0 to 1, how many are to go deeper.

    Returns:
        Searches whose confidence is below it go deeper: -inf lets none, inf all.

    Raises:
        SettingsError: the share is out of range, or there is no value.
    """
    if not 0 <= share <= 1:
        raise SettingsError(f"a share of crops is between 0 and 1, got {share}.")
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
    """Share of each answer in the weight of all; a search without answers has zeros."""
    best = np.where(np.isfinite(scores[:, :1]), scores[:, :1], 0.0)
    weights = np.exp((scores - best) / _TEMPERATURE)
    shares: NDArray[np.float64] = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    return shares


def _means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row means over the answers that there are; 0 where there is none."""
    there = np.isfinite(scores)
    sums = np.where(there, scores, 0.0).sum(axis=1)
    means: NDArray[np.float64] = sums / np.maximum(there.sum(axis=1), 1)
    return means
