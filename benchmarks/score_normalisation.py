r"""Whether a score means more where a gallery is less crowded: plain and normalised scores.

    python -m benchmarks.score_normalisation --data data/CUHK/labeled --model res2 --sizes 10,100
    python -m benchmarks.score_normalisation --data data/Market-1501-v15.09.15 --train --model res2

Each person is enrolled with one template, of up to four crops of one camera; single crops of other
cameras are searched for, once with the person among so many enrolled, once with another in their
place. Whoever is most alike is the answer, as in `adln.matching.identification`, with its lead over
everybody else; what is compared is the number that is held against the threshold:

- "score": the cosine.
- "query K": the cosine less half of the mean of the query's K next best people.
- "person K": less half of the mean cosine of the person and the K people nearest to them.
- "both K": less a quarter of each.
- "AS-norm K": the mean of both, each as standard deviations above its cohort.

Each is given the threshold at which it finds as many of the enrolled as the plain cosine does where
it answers a stated share of strangers, and the strangers that are answered then are counted.
Intervals, of 95 %, are over the persons searched for; "difference" is that of the same resampled
persons.

Source: Auckenthaler, Carey and Lloyd-Thomas, "Score Normalization for Text-Independent Speaker
Verification Systems", Digital Signal Processing, 2000 (Z-norm and T-norm); Matejka et al.,
"Analysis of Score Normalization in Multilingual Speaker Recognition", Interspeech 2017 (AS-norm).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.datasets.catalogue import open_dataset
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import unit_length
from adln.evaluation.protocol import embed_split
from adln.matching.identification import MARGIN

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

RULES = ("score", "query 5", "query 20", "person 5", "both 5", "both 20", "AS-norm 5", "AS-norm 20")
_TEMPLATE_CROPS, _QUERIES = 4, 2
_DRAWS = {10: 16, 100: 8}
_FEW_DRAWS = 3
_RESAMPLED = 1000
_SHARE = 0.5
# Cohorts of nearly equal scores would make anything stand out.
_LEAST_SPREAD = 0.02


@dataclass(frozen=True, eq=False)
class Drawn:
    """Templates and queries of one draw.

    Attributes:
        templates: (P, D) of unit length.
        queries: (Q, D) of unit length.
        owners: (Q,) whose they are, as rows of the templates.
    """

    templates: Floats
    queries: Floats
    owners: Numbers


@dataclass(frozen=True, eq=False)
class Trials:
    """Searches of each query, Q of them.

    Attributes:
        values: rule -> (Q,) what is held against a threshold; -inf where somebody else is as alike.
        is_right: (Q,) whether the answer is the query's person.
    """

    values: dict[str, Floats]
    is_right: NDArray[np.bool_]


def draw(features: Floats, persons: Numbers, cameras: Numbers, rng: np.random.Generator) -> Drawn:
    """Enrol everybody who was seen by two cameras or more."""
    templates: list[Floats] = []
    queries: list[Floats] = []
    owners: list[int] = []
    for person in np.unique(persons).tolist():
        rows = np.flatnonzero(persons == person)
        seen_by = np.unique(cameras[rows])
        if len(seen_by) < 2:
            continue
        here = cameras[rows] == rng.choice(seen_by)
        enrolled = rng.permutation(rows[here])[:_TEMPLATE_CROPS]
        for row in rng.permutation(rows[~here])[:_QUERIES].tolist():
            queries.append(features[row])
            owners.append(len(templates))
        templates.append(unit_length(features[enrolled].mean(axis=0)))
    return Drawn(np.stack(templates), np.stack(queries), np.array(owners, np.int64))


def galleries(drawn: Drawn, size: int, rng: np.random.Generator) -> Iterator[tuple[bool, Numbers]]:
    """Who is enrolled for each query, (Q, size): first without, then with the query's person."""
    order = rng.permutation(len(drawn.templates))
    members = np.stack([order[order != owner][:size] for owner in drawn.owners])
    yield False, members
    with_own = members.copy()
    with_own[:, 0] = drawn.owners
    yield True, with_own


def search(drawn: Drawn, members: Numbers, likeness: Floats, between: Floats) -> Trials:
    """Search in galleries.

    Args:
        drawn: Queries and templates.
        members: (Q, N) rows of the templates that are enrolled.
        likeness: (Q, P) cosines of queries and templates.
        between: (P, P) cosines of templates.
    """
    each = np.arange(len(members))
    scores = np.take_along_axis(likeness, members, axis=1)
    best = scores.argmax(axis=1)
    answers = members[each, best]
    top = scores[each, best]
    others = scores.copy()
    others[each, best] = -np.inf
    around = between[answers[:, np.newaxis], members]
    around[each, best] = -np.inf
    is_clear = top - others.max(axis=1) >= MARGIN
    values = {
        rule: np.where(is_clear, normalised(rule, top, others, around), -np.inf).astype(np.float32)
        for rule in RULES
    }
    return Trials(values, answers == drawn.owners)


def normalised(rule: str, top: Floats, others: Floats, around: Floats) -> Floats:
    """What a rule makes of scores.

    Args:
        rule: One of `RULES`.
        top: (Q,) the best score.
        others: (Q, N) scores of the people enrolled; -inf for the best.
        around: (Q, N) cosines of the best person and all others; -inf for the person itself.
    """
    if rule == "score":
        return top
    kind, _, count = rule.rpartition(" ")
    of_query, query_spread = _nearest(others, int(count))
    of_person, person_spread = _nearest(around, int(count))
    value: NDArray[np.floating]
    if kind == "query":
        value = top - _SHARE * of_query
    elif kind == "person":
        value = top - _SHARE * of_person
    elif kind == "both":
        value = top - _SHARE * (of_query + of_person) / 2
    else:
        value = ((top - of_query) / query_spread + (top - of_person) / person_spread) / 2
    return value.astype(np.float32)


def _nearest(cosines: Floats, count: int) -> tuple[Floats, Floats]:
    """Mean and spread of the largest in each row."""
    count = min(count, cosines.shape[1] - 1)
    nearest = np.partition(cosines, -count, axis=1)[:, -count:]
    spread = np.maximum(nearest.std(axis=1), _LEAST_SPREAD)
    return nearest.mean(axis=1), spread.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Curve:
    """One rule's values, with the persons searched for, sorted once for all resamplings.

    Attributes:
        found: (F,) values of people who are enrolled and answered rightly, falling.
        found_by: (F,) their persons.
        strangers: (S,) values of people who are not enrolled, falling.
        strangers_by: (S,) their persons.
        all_by: (M,) persons of all searches for people who are enrolled.
    """

    found: Floats
    found_by: Numbers
    strangers: Floats
    strangers_by: Numbers
    all_by: Numbers

    def detected(self, rate: float, weights: NDArray[np.float64]) -> float:
        """Share of enrolled people who are found while a share of strangers is answered."""
        answered = np.cumsum(weights[self.strangers_by])
        at = int(np.searchsorted(answered, rate * answered[-1], side="right"))
        threshold = self.strangers[min(at, len(self.strangers) - 1)]
        found = weights[self.found_by][self.found > threshold].sum()
        return float(found / weights[self.all_by].sum())

    def answered(self, detected: float, weights: NDArray[np.float64]) -> float:
        """Share of strangers who are answered where a share of enrolled people is found."""
        found = np.cumsum(weights[self.found_by]) / weights[self.all_by].sum()
        at = int(np.searchsorted(found, detected))
        if at >= len(found) or not np.isfinite(self.found[at]):
            return 1.0
        of_strangers = weights[self.strangers_by]
        return float(of_strangers[self.strangers >= self.found[at]].sum() / of_strangers.sum())


def curves(
    features: Floats, persons: Numbers, cameras: Numbers, size: int, seed: int
) -> tuple[dict[str, Curve], int]:
    """Search in galleries of one size; gives the curves by rule and the number of persons."""
    rng = np.random.default_rng(seed)
    kept: dict[bool, list[Trials]] = {False: [], True: []}
    owners = []
    num_persons = 0
    for _ in range(_DRAWS.get(size, _FEW_DRAWS)):
        drawn = draw(features, persons, cameras, rng)
        num_persons = len(drawn.templates)
        likeness = drawn.queries @ drawn.templates.T
        between = drawn.templates @ drawn.templates.T
        for is_enrolled, members in galleries(drawn, min(size, num_persons - 1), rng):
            kept[is_enrolled].append(search(drawn, members, likeness, between))
        owners.append(drawn.owners)
    by = np.concatenate(owners)
    is_right = np.concatenate([one.is_right for one in kept[True]])
    found = {}
    for rule in RULES:
        mated, strangers = (
            np.concatenate([one.values[rule] for one in kept[which]]) for which in (True, False)
        )
        right, right_by = mated[is_right], by[is_right]
        order, stranger_order = np.argsort(-right), np.argsort(-strangers)
        found[rule] = Curve(
            right[order], right_by[order], strangers[stranger_order], by[stranger_order], by
        )
    return found, num_persons


def report(found: dict[str, Curve], num_persons: int, rate: float, seed: int) -> None:
    """Strangers answered by each rule, at the detection that the plain cosine has at a rate."""
    everybody = np.ones(num_persons)
    detected = found["score"].detected(rate, everybody)
    rng = np.random.default_rng(seed)
    resampled = [
        np.bincount(rng.integers(0, num_persons, num_persons), minlength=num_persons).astype(float)
        for _ in range(_RESAMPLED)
    ]
    click.echo(f"   {100 * detected:.1f} % of the enrolled found")
    plain = np.array([found["score"].answered(detected, one) for one in resampled])
    for rule, curve in found.items():
        shares = np.array([curve.answered(detected, one) for one in resampled])
        low, high = np.percentile(100 * shares, (2.5, 97.5))
        less, more = np.percentile(100 * (shares - plain), (2.5, 97.5))
        click.echo(
            f"   {rule:12s} strangers answered {100 * curve.answered(detected, everybody):6.2f} % "
            f"({low:.2f} to {high:.2f}), difference {less:+.2f} to {more:+.2f}"
        )


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--train", is_flag=True, help="The training persons, in place of those searched for.")
@click.option("--model", default="res2", show_default=True, help="A network that comes with adln.")
@click.option("--sizes", default="10,100,700", show_default=True, help="People enrolled.")
@click.option("--rates", default="0.01,0.1", show_default=True, help="Shares of strangers.")
@click.option("--seed", default=0, show_default=True)
@click.option("--features", type=click.Path(path_type=Path), help=".npz to write, or to read.")
def main(
    data: Path,
    train: bool,
    model: str,
    sizes: str,
    rates: str,
    seed: int,
    features: Path | None,
) -> None:
    """Compare normalised scores with plain ones."""
    if features is not None and features.exists():
        with np.load(features) as content:
            embeddings, persons, cameras = (content[name] for name in ("x", "pid", "cam"))
    else:
        dataset = open_dataset(data)
        splits = (dataset.train,) if train else (dataset.query, dataset.gallery)
        embedder = OnnxEmbedder(find_network(model), flip=False)
        embeddings = np.concatenate(
            [embed_split(embedder, split)[embedder.depths[-1]] for split in splits]
        )
        persons = np.concatenate([split.person_ids for split in splits])
        cameras = np.concatenate([split.camera_ids for split in splits])
        if features is not None:
            np.savez(features, x=embeddings, pid=persons, cam=cameras)
    for size in map(int, sizes.split(",")):
        found, num_persons = curves(embeddings, persons, cameras, size, seed)
        for rate in map(float, rates.split(",")):
            enrolled = min(size, num_persons - 1)
            click.echo(f"{model}, {enrolled} of {num_persons} enrolled, {rate:g} of strangers")
            report(found, num_persons, rate, seed)


if __name__ == "__main__":
    main()
