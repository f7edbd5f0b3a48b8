"""Checks a data set: counts, problems and remarks.

Compares with the counts of Sec. III.A (see `adln.datasets.market1501` for the gallery of
Market-1501) and of the data sets' owners.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.crops import read_image
from adln.datasets.listing import shown
from adln.datasets.split import ReidDataset, Split
from adln.errors import ImageError, SettingsError


@dataclass(frozen=True)
class SplitCounts:
    """Counts of the split "train", "query" or "gallery"."""

    name: str
    images: int
    persons: int
    cameras: int


@dataclass(frozen=True)
class KnownSizes:
    """The size of a public data set as stated by its owners; gallery images without junk.

    `folder_word` is a word in the original's folder name, in lower case.
    """

    title: str
    folder_word: str
    train_images: int
    train_persons: int
    query_images: int
    query_persons: int
    gallery_images: int


KNOWN_SIZES = {
    "market1501": KnownSizes("Market-1501", "market", 12_936, 751, 3_368, 750, 15_913),
    "dukemtmc": KnownSizes("DukeMTMC-reID", "duke", 16_522, 702, 2_228, 702, 17_661),
    "msmt17": KnownSizes("MSMT17", "msmt", 32_621, 1_041, 11_659, 3_060, 82_161),
    "cuhk01": KnownSizes("CUHK01", "cuhk01", 0, 0, 1_942, 971, 1_942),
    "cuhk02": KnownSizes("CUHK02", "cuhk02", 6_308, 1_577, 478, 239, 478),
    "viper": KnownSizes("VIPeR", "viper", 0, 0, 632, 632, 632),
    "prid2011": KnownSizes("PRID 2011", "prid", 0, 0, 200, 200, 749),
    "grid": KnownSizes("GRID", "underground", 0, 0, 250, 250, 1_025),
    "ilids-vid": KnownSizes("iLIDS-VID", "lids-vid", 0, 0, 300, 300, 300),
}


@dataclass(frozen=True)
class DatasetReport:
    """The result of `inspect_dataset`; splits are train, query and gallery.

    Junk is of person -1; distractors are gallery pictures of persons without a query; queries
    without match are those whose person is in no other camera's gallery pictures. Problems have one
    or two sentences each; remarks are facts that are not problems.
    """

    name: str
    root: Path
    splits: tuple[SplitCounts, ...]
    junk_images: int
    distractor_images: int
    queries_without_match: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def inspect_dataset(dataset: ReidDataset, *, corrupt: Sequence[str] | None = None) -> DatasetReport:
    """Count a data set and look for problems for training or evaluation.

    `corrupt` is what `find_corrupt` found among its pictures; None if they were not decoded.
    """
    unmatched = dataset.query.select(~_has_match(dataset.query, dataset.gallery))
    distractors = int(
        np.isin(dataset.gallery.person_ids, dataset.query.person_ids, invert=True).sum()
    )
    size_problems, size_remarks = _compare_with_known(dataset)
    return DatasetReport(
        name=dataset.name,
        root=dataset.root,
        splits=tuple(_count(split) for split in dataset.splits),
        junk_images=len(dataset.junk),
        distractor_images=distractors,
        queries_without_match=len(unmatched),
        problems=(
            *_empty_splits(dataset),
            *size_problems,
            *_problems_of_files(dataset, corrupt or ()),
            *_problems_of_persons(dataset, unmatched),
        ),
        remarks=(*size_remarks, *dataset.remarks, *_remarks(dataset, distractors, corrupt)),
    )


def find_corrupt(
    paths: Sequence[Path],
    *,
    workers: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[str, ...]:
    """Decode every picture with this many threads; a message for each that cannot be decoded.

    Messages start with the path, in the order of the paths. `on_progress` is called in the calling
    thread with the number of files just finished.

    Raises:
        SettingsError: ``workers`` is below one.
    """
    if workers < 1:
        raise SettingsError(f"workers must be at least 1, got {workers}.")
    messages: list[str] = []
    executor = ThreadPoolExecutor(workers)
    try:
        for found in executor.map(_decode, paths):
            messages += found
            if on_progress is not None:
                on_progress(1)
    finally:
        executor.shutdown(cancel_futures=True)
    return tuple(messages)


def _decode(path: Path) -> list[str]:
    try:
        read_image(path)
    except ImageError as error:
        return [str(error)]
    return []


def _count(split: Split) -> SplitCounts:
    return SplitCounts(
        name=split.name,
        images=len(split),
        persons=len(np.unique(split.person_ids)),
        cameras=len(np.unique(split.camera_ids)),
    )


def _has_match(query: Split, gallery: Split) -> NDArray[np.bool_]:
    """Whether the gallery has each query's person from another camera."""
    cameras_of: dict[int, set[int]] = {}
    for person, camera in zip(gallery.person_ids, gallery.camera_ids, strict=True):
        cameras_of.setdefault(int(person), set()).add(int(camera))
    matched = [
        bool(cameras_of.get(int(person), set()) - {int(camera)})
        for person, camera in zip(query.person_ids, query.camera_ids, strict=True)
    ]
    return np.asarray(matched, dtype=np.bool_)


def _empty_splits(dataset: ReidDataset) -> Iterator[str]:
    """A data set may be for training only or for evaluation only, but not empty."""
    has_train, has_query, has_gallery = (len(split) > 0 for split in dataset.splits)
    if has_query != has_gallery:
        empty, other = ("gallery", "query") if has_query else ("query", "gallery")
        yield f"The {empty} split is empty, the {other} split is not: evaluating needs both."
    elif not (has_train or has_query):
        yield "All splits are empty."


def _compare_with_known(dataset: ReidDataset) -> tuple[list[str], list[str]]:
    """Problems and remarks: another size is one only if the folder is named like the original."""
    known = KNOWN_SIZES.get(dataset.name)
    if known is None:
        return [], []
    different = _differences(dataset, known)
    if not different:
        remark = f"All counts are those of the original {known.title}."
        if dataset.name == "market1501":
            remark += (
                " (The paper prints 19,364 gallery images; that is a mistake: the folder has "
                "19,732, of which 15,913 are not junk.)"
            )
        return [], [remark]
    if not _is_of_another(dataset, known):
        return [
            f"This is not all of {known.title}: {'; '.join(different)}. Unpack or copy the "
            "data set again; results on it are not comparable with published ones."
        ], []
    return [], [
        f"Has the layout of {known.title} but another size, so it is taken for your own data set."
    ]


def _differences(dataset: ReidDataset, known: KnownSizes) -> list[str]:
    train, query, gallery = (_count(split) for split in dataset.splits)
    rows = (
        ("train images", train.images, known.train_images),
        ("train persons", train.persons, known.train_persons),
        ("query images", query.images, known.query_images),
        ("query persons", query.persons, known.query_persons),
        ("gallery images", gallery.images, known.gallery_images),
    )
    return [
        f"{what} {found:,} instead of {expected:,}"
        for what, found, expected in rows
        if found != expected
    ]


def _is_of_another(dataset: ReidDataset, known: KnownSizes) -> bool:
    """Whether size and folder name show that only the layout is that of a public data set."""
    is_named = known.folder_word in dataset.root.resolve().name.lower()
    return not is_named and bool(_differences(dataset, known))


def look_alike_note(dataset: ReidDataset) -> str:
    """A note if a data set only has the layout of a public one; otherwise ""."""
    known = KNOWN_SIZES.get(dataset.name)
    if known is None or not _is_of_another(dataset, known):
        return ""
    return (
        f"{dataset.root.name} has the layout of {known.title}, but not its size. If it shows other "
        "people, nothing is known about whether the network was trained on them."
    )


def _kind(path: Path) -> str:
    if not path.is_dir():
        return ""
    return "/ (a link)" if path.is_symlink() else "/ (cannot be read)"


def _problems_of_files(dataset: ReidDataset, corrupt: Sequence[str]) -> Iterator[str]:
    # Readers that walk folders cannot list a missing file; those that read lists can.
    missing = [path for split in dataset.splits for path in split.paths if not path.is_file()]
    yield from _if_any(missing, f"listed but not there: {shown(map(str, missing))}.")
    first = "".join(f"\n  {message}" for message in corrupt[:8])
    more = f"\n  and {len(corrupt) - 8:,} more" if len(corrupt) > 8 else ""
    yield from _if_any(corrupt, f"cannot be decoded:{first}{more}")
    unreadable, stray = (
        shown(f"{path.relative_to(dataset.root)}{_kind(path)}" for path in paths)
        for paths in (dataset.unreadable, dataset.stray)
    )
    yield from _if_any(
        dataset.unreadable,
        f"left out because the name does not give person and camera: {unreadable}.",
    )
    yield from _if_any(
        dataset.stray,
        f"left out because this layout has no pictures in such places: {stray}. Move them to where "
        "the others are, or out of the data set.",
    )
    for split in dataset.splits:
        listed = Counter(split.paths)
        twice = [path for path, count in listed.items() if count > 1]
        for images in _if_any(twice, f"more than once: {shown(map(str, twice))}."):
            yield f"The {split.name} split lists {images}"
        # a.jpg beside a.jpg.jpg
        beside = [
            path for path in listed if _has_doubled_suffix(path) and path.with_suffix("") in listed
        ]
        names = shown(path.name for path in beside)
        for images in _if_any(beside, f"twice, as name.jpg and as name.jpg.jpg: {names}."):
            yield f"The {split.name} split holds {images} Remove one of each."


def _problems_of_persons(dataset: ReidDataset, unmatched: Split) -> Iterator[str]:
    persons_of: dict[Path, set[int]] = {}
    for split in dataset.splits:
        for path, person in zip(split.paths, split.person_ids, strict=True):
            # By another path or a link it is the same file.
            persons_of.setdefault(path.resolve(), set()).add(int(person))
    twofold = [path for path, persons in persons_of.items() if len(persons) > 1]
    yield from _if_any(
        twofold,
        f"listed under more than one person: {shown(map(str, twofold))}. Keep the right one of "
        "each.",
    )
    tested = np.concatenate([dataset.query.person_ids, dataset.gallery.person_ids])
    shared = np.intersect1d(dataset.train.person_ids, tested)
    if len(shared):
        yield (
            f"{_persons(shared)} in both the train and the test splits (ids "
            f"{shown(map(str, shared))}): results would be too good. Keep each person to one side."
        )
    if len(unmatched):
        persons = np.unique(unmatched.person_ids)
        yield (
            f"{len(unmatched):,} of {len(dataset.query):,} queries have no match: the gallery does "
            f"not show the person from a second camera ({_persons(persons)}, ids "
            f"{shown(map(str, persons))}). Evaluation leaves these queries out."
        )


def _remarks(
    dataset: ReidDataset, distractors: int, corrupt: Sequence[str] | None
) -> Iterator[str]:
    yield from _if_any(dataset.junk, "of person -1 (junk) left out.")
    if distractors and len(dataset.query) > 0:
        yield (
            f"{distractors:,} gallery {'image is a' if distractors == 1 else 'images are'} "
            f"distractor{'' if distractors == 1 else 's'}: no query shows the person. Distractors "
            "stay in the gallery as wrong answers."
        )
    paths = [*(path for split in dataset.splits for path in split.paths), *dataset.junk]
    doubled = sum(_has_doubled_suffix(path) for path in paths)
    if doubled:
        original = " (as in the original)" if dataset.name == "market1501" else ""
        yield f"{doubled} names end in .jpg.jpg{original}; they are read like any other."
    train = dataset.train
    views = np.unique(np.stack([train.person_ids, train.camera_ids]), axis=1)
    persons, cameras = np.unique(views[0], return_counts=True)
    alone = persons[cameras == 1]
    if len(alone):
        yield (
            f"{_persons(alone)} of the train split seen by one camera only (ids "
            f"{shown(map(str, alone))}): they teach nothing about different cameras."
        )
    if corrupt is None:
        yield "The pictures were not decoded; `adln data check --decode` finds damaged ones."
    elif not corrupt:
        yield "Every picture of the splits can be decoded."


def _has_doubled_suffix(path: Path) -> bool:
    suffixes = path.suffixes
    return len(suffixes) > 1 and suffixes[-1].lower() == suffixes[-2].lower()


def _if_any(images: Sized, about: str) -> list[str]:
    """The number of images and what is said about them, unless there are none."""
    count = len(images)
    return [f"{count:,} image{'' if count == 1 else 's'} {about}"] if count else []


def _persons(persons: Sized) -> str:
    return f"{len(persons):,} person{'' if len(persons) == 1 else 's'}"
