"""Whether a matched track becomes a template of its person; see `adln.pipeline.identity`."""

from collections.abc import Callable

from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, ModelKey
from adln.matching.identification import MARGIN, Identification
from adln.pipeline.track_state import TrackState

LEARN_ABOVE = 2 * MARGIN
"""How far above the threshold of a match, in cosine, a track must score to become a template."""

_SET_ASIDE = Filter(persons=frozenset({NO_PERSON}))


def is_clear(
    gallery: Gallery,
    key: Callable[[int], ModelKey],
    state: TrackState,
    found: Identification,
    lead: float,
) -> bool:
    """Whether a match is clear enough to learn from, or there was nothing to compare with.

    Each look at a track is another attempt, and with enough of them a stranger gets through. So a
    track that has matched less clearly once is not learned later either.

    Args:
        gallery: stored people and sightings.
        key: depth -> key of its embeddings in the gallery.
        state: the track; notes that it matched narrowly.
        found: as whom it was identified at this look.
        lead: score above that of everybody else.
    """
    if found.score is None:
        return True
    if found.verdict != "matched":
        return False
    above = found.score - (-1.0 if found.threshold is None else found.threshold)
    state.was_close = (
        state.was_close
        or lead < MARGIN
        or above < LEARN_ABOVE
        or is_in_doubt(gallery, key, state, found)
    )
    return not state.was_close


def is_in_doubt(
    gallery: Gallery, key: Callable[[int], ModelKey], state: TrackState, found: Identification
) -> bool:
    """Whether a track is more like a sighting that was set aside than like the person found.

    Somebody else who only just matched comes again. A little more alike, they would be learned, and
    be this person from then on; but they are as doubtful as they were the first time.

    Args:
        gallery: stored people and sightings.
        key: depth -> key of its embeddings in the gallery.
        state: the track.
        found: as whom it was identified.
    """
    evidence = state.evidence
    assert evidence is not None
    if found.score is None or found.depth is None:
        return False
    (nearest,) = gallery.search(
        evidence.pool(found.depth),
        model=key(found.depth),
        k=len(state.own_sightings) + 1,
        where=_SET_ASIDE,
        cameras=[state.key[0]],
    )
    return any(
        round(score, 6) > found.score and sighting_id not in state.own_sightings
        for sighting_id, score in zip(
            nearest.sighting_ids.tolist(), nearest.similarity.tolist(), strict=True
        )
    )
