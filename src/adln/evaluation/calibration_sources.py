"""Scores with ground truth for each file of a network, from a data set or a feature file.

`adln.evaluation.calibrating` fits a calibration to them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.datasets.columns import read_columns
from adln.datasets.split import ReidDataset, Split
from adln.embeddings import Embedder
from adln.errors import DatasetError, ModelFileError, SettingsError
from adln.evaluation.calibrating import Material, person_material, require_enough, track_material
from adln.evaluation.open_set import person_scores
from adln.evaluation.protocol import embed_split
from adln.evaluation.ranking import Side
from adln.features import read_features


@dataclass(frozen=True)
class NetworkFile:
    """One file of a network; spaces are depth used from this file -> space of its embeddings.

    Unknown spaces and an unknown `source_sha256`, of the network that it was exported from, are "".
    """

    path: Path
    sha256: str
    source_sha256: str
    precision: str
    spaces: Mapping[int, str]


@dataclass(frozen=True)
class OpenedNetwork:
    """A network in one file, or in several consecutive ones."""

    embedder: Embedder
    files: tuple[NetworkFile, ...]

    @property
    def spaces(self) -> dict[int, str]:
        """Depth -> space, of all files."""
        return {depth: space for one in self.files for depth, space in one.spaces.items()}


@dataclass(frozen=True)
class JudgedNetwork:
    """Scores of one file of a network, with ground truth; materials by (query, gallery) depth.

    `data` is the source of the scores, in words.
    """

    file: NetworkFile
    data: str
    flip: bool
    materials: Mapping[tuple[int, int], Material]


def judge_dataset(
    own: OpenedNetwork,
    others: Sequence[OpenedNetwork],
    dataset: ReidDataset,
    *,
    match_rate: float,
    flip: bool,
    batch_size: int,
    progress: Callable[[int], AbstractContextManager[Callable[[int], None]]],
) -> list[JudgedNetwork]:
    """Search for the persons of a data set at every depth, in galleries of every comparable depth.

    The network was not trained on them. If there is no query or no gallery, every training picture
    is searched for among the others. `others` are networks whose embeddings it will be compared
    with; `match_rate`, the rate of the planned calibration, determines the searches needed.
    `progress` opens a progress display for a number of pictures. Returns the scores of each file.

    Raises:
        SettingsError: another network shares no space with this one.
        EvaluationError: there are too few searches for the rate.
    """
    for other in others:
        if not set(own.spaces.values()) & set(other.spaces.values()) - {""}:
            raise SettingsError(
                f"{other.files[0].path}: its embeddings share no space with those of "
                f"{own.files[0].path}, so they cannot be compared; remove this --against."
            )
    splits = (dataset.query, dataset.gallery)
    if not all(map(len, splits)):
        splits = (dataset.train, dataset.train)
    is_same = splits[0] is splits[1]
    queries_of, gallery_of = splits
    # With dummy embeddings, the comparisons can be counted before the work.
    alike = [(np.ones((len(part), 1), np.float32), *part.ids) for part in splits]
    require_enough(_of_persons(alike[0], alike[1], is_same=is_same), match_rate)
    pictures = (0 if is_same else len(queries_of)) + len(gallery_of) * (1 + len(others))
    with progress(pictures) as on_progress:

        def embed(opened: OpenedNetwork, part: Split) -> dict[int, NDArray[np.float32]]:
            return embed_split(
                opened.embedder, part, batch_size=batch_size, on_progress=on_progress
            )

        queries = embed(own, queries_of)
        # Its own other depths are searched, too.
        stored = [queries if is_same else embed(own, gallery_of)]
        stored += [embed(other, gallery_of) for other in others]
    judged = []
    for file in own.files:
        materials = {}
        for depth, space in file.spaces.items():
            among = {depth: stored[0][depth]}
            for opened, features in zip([own, *others], stored, strict=True):
                for their_depth, their_space in opened.spaces.items():
                    if space and space == their_space:
                        among.setdefault(their_depth, features[their_depth])
            query = (queries[depth], *queries_of.ids)
            for their_depth, embeddings in among.items():
                materials[depth, their_depth] = _of_persons(
                    query, (embeddings, *gallery_of.ids), is_same=is_same
                )
        judged.append(JudgedNetwork(file, dataset.name, flip, materials))
    return judged


def judge_features(
    path: Path, sha256: str, features_path: Path, *, table: Path | None, gap_s: float
) -> JudgedNetwork:
    """Compare the pictures of a feature file of `adln embed`, by persons or by tracks.

    `table` is as in `adln.datasets.columns.read_columns`, `gap_s` as in `track_material`.

    Raises:
        ModelFileError: the features were made by another network.
        DatasetError: see `read_features` and `read_columns`; or neither persons nor tracks are
            known.
    """
    features = read_features(features_path)
    source = features.source
    if source.model_sha256 != sha256:
        raise ModelFileError(
            f"{features_path} was made by network {source.model_sha256[:12]}, but this one is "
            f"{sha256[:12]}; embed again with it."
        )
    columns = read_columns(features_path, features.paths, table)
    if {"camera", "person"} <= columns.keys():
        person, camera = (
            np.unique(columns[name], return_inverse=True)[1].astype(np.int64).reshape(-1)
            for name in ("person", "camera")
        )
        side = (features.embeddings, person, camera)
        material = _of_persons(side, side, is_same=True)
    elif {"camera", "track", "time_s"} <= columns.keys():
        material = track_material(
            features.embeddings, columns["camera"], columns["track"], columns["time_s"], gap_s=gap_s
        )
    else:
        raise DatasetError(
            f"{table or features_path}: expected the columns camera and person, or camera, track "
            f"and time_s; found {sorted(columns) or 'none of them'}. Give a CSV with them as "
            "--table."
        )
    file = NetworkFile(
        path, sha256, source.source_sha256, source.precision, {source.depth: source.space}
    )
    materials = {(source.depth, source.depth): material}
    return JudgedNetwork(file, features_path.name, source.flip, materials)


def _of_persons(query: Side, gallery: Side, *, is_same: bool) -> Material:
    across = len(np.unique(np.concatenate([query[2], gallery[2]]))) > 1
    if not across:
        # With one camera only, just the picture itself is left out.
        own: NDArray[Any] = np.arange(len(query[2]))
        other = own if is_same else np.arange(len(gallery[2])) + len(own)
        query, gallery = (*query[:2], own), (*gallery[:2], other)
    return person_material(person_scores(query, gallery), across_cameras=across)
