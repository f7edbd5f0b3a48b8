"""What every gallery promises, asked of the folder on this device and of a real Milvus server."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.look_alikes import find_look_alikes
from adln.gallery.milvus import MilvusGallery
from adln.gallery.moving import move_gallery
from adln.gallery.records import (
    EVERYTHING,
    NO_PERSON,
    Filter,
    ModelKey,
    Person,
    Sighting,
    SightingFacts,
    StoredSighting,
)
from adln.gallery.sqlite_gallery import SqliteGallery

DIM = 24
MODEL = ModelKey("a" * 64, 2, DIM)
Open = Callable[[], Gallery]


@pytest.fixture(params=["folder", "server"])
def open_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same gallery each time, as a second process would."""
    if request.param == "folder":
        return lambda: SqliteGallery(tmp_path / "gallery", create=True)
    uri = request.getfixturevalue("milvus_uri")
    name = f"test_{uuid.uuid4().hex}"
    return lambda: MilvusGallery(uri, name, consistency="Strong")


@pytest.fixture
def gallery(open_gallery: Open) -> Iterator[Gallery]:
    with open_gallery() as opened:
        yield opened


def looks(count: int, *, seed: int = 0, model: ModelKey = MODEL) -> list[Sighting]:
    rng = np.random.default_rng(seed)
    embeddings = unit_length(rng.normal(size=(count, model.dim)))
    return [
        Sighting(
            embedding=embedding,
            model=model,
            camera_id=number % 3,
            time_s=1e9 + number / 7,
            track_id=number if number % 2 else None,
            box_xyxy=(0.1, 2.0, 30.5, 40.25) if number % 4 else None,
            quality=number / count,
            thumbnail=bytes([255, 216, number]) if number % 5 == 0 else None,
        )
        for number, embedding in enumerate(embeddings)
    ]


def plain(sighting: Sighting) -> dict[str, object]:
    known = {name: getattr(sighting, name) for name in Sighting.__dataclass_fields__}
    return {**known, "embedding": sighting.embedding.tolist()}


def added(gallery: Gallery, sightings: list[Sighting]) -> list[int]:
    ids = gallery.add(sightings)
    assert None not in ids
    return [number for number in ids if number is not None]


def test_an_empty_gallery_answers_with_nothing(gallery: Gallery) -> None:
    assert gallery.models == ()
    assert gallery.count() == 0
    assert gallery.persons() == []
    assert list(gallery.iterate()) == []
    assert gallery.get([1, 2]) == []
    assert gallery.delete([1]) == 0
    assert gallery.add([]) == []
    results = gallery.search(np.stack([s.embedding for s in looks(2)]), model=MODEL)
    assert [len(result) for result in results] == [0, 0]


def test_what_was_added_comes_back_whole_and_to_others(open_gallery: Open) -> None:
    given = looks(25)
    with open_gallery() as gallery:
        anna = gallery.enrol("Anna")
        given[3] = replace(given[3], person_id=anna)
        ids = added(gallery, given)
        assert ids == sorted(set(ids))
        assert gallery.models == (MODEL,)
    with open_gallery() as gallery:
        assert gallery.models == (MODEL,)
        back = gallery.get(reversed(ids))
        assert [record.sighting_id for record in back] == ids[::-1]
        assert [plain(record) for record in back[::-1]] == [plain(sighting) for sighting in given]
        batches = list(gallery.iterate(batch_size=10))
        assert [len(batch) for batch in batches] == [10, 10, 5]
        assert [record.sighting_id for batch in batches for record in batch] == ids
        (person,) = gallery.persons()
        assert (person.person_id, person.name, person.num_sightings) == (anna, "Anna", 1)
        assert (person.cameras, person.first_seen_s) == ((0,), given[3].time_s)


def passes(where: Filter, sighting: Sighting) -> bool:
    """The meaning of a filter, written out."""
    person = NO_PERSON if sighting.person_id is None else sighting.person_id
    if where.cameras is not None and sighting.camera_id not in where.cameras:
        return False
    if where.from_s is not None and sighting.time_s < where.from_s:
        return False
    if where.until_s is not None and sighting.time_s >= where.until_s:
        return False
    if where.persons is not None and person not in where.persons:
        return False
    if where.depth is not None and sighting.model.depth != where.depth:
        return False
    return sighting.camera_id not in where.not_cameras and person not in where.not_persons


FILTERS = [
    Filter(),
    Filter(cameras=frozenset({0, 2})),
    Filter(cameras=frozenset()),
    Filter(not_cameras=frozenset({1})),
    Filter(from_s=1e9 + 2, until_s=1e9 + 6),
    Filter(from_s=1e9 + 5 / 7, until_s=1e9 + 6 / 7),
    Filter(persons=frozenset({NO_PERSON})),
    Filter(not_persons=frozenset({NO_PERSON})),
    Filter(cameras=frozenset({1}), until_s=1e9 + 4, depth=2),
    Filter(depth=3),
    Filter(cameras=frozenset({7})),
]


def test_searches_and_counts_are_exact_under_every_filter(gallery: Gallery) -> None:
    person = gallery.enrol()
    given = looks(60)
    given = [replace(s, person_id=person) if n % 4 == 0 else s for n, s in enumerate(given)]
    deeper = looks(20, seed=1, model=replace(MODEL, depth=3))
    ids = added(gallery, given + deeper)
    everything = list(zip(ids, given + deeper, strict=True))
    queries = np.stack([s.embedding for s in looks(4, seed=2)])
    for where in FILTERS:
        passing = [(number, s) for number, s in everything if passes(where, s)]
        assert gallery.count(where) == len(passing)
        found = [record.sighting_id for batch in gallery.iterate(where) for record in batch]
        assert found == [number for number, _ in passing]
        same_depth = [(number, s) for number, s in passing if s.model.depth == 2]
        for query, result in zip(
            queries, gallery.search(queries, model=MODEL, k=9, where=where), strict=True
        ):
            best = sorted(same_depth, key=lambda one: -float(query @ one[1].embedding))[:9]
            assert result.sighting_ids.tolist() == [number for number, _ in best]
            np.testing.assert_allclose(
                result.similarity, [query @ s.embedding for _, s in best], atol=1e-5
            )
            people = [NO_PERSON if s.person_id is None else s.person_id for _, s in best]
            assert result.person_ids.tolist() == people
            assert result.camera_ids.tolist() == [s.camera_id for _, s in best]
            assert result.time_s.tolist() == [s.time_s for _, s in best]
            assert result.depths.tolist() == [2] * len(best)


def test_one_space_is_searched_whatever_depth_and_file_it_comes_from(open_gallery: Open) -> None:
    shared = replace(MODEL, space="space-one")
    deep = ModelKey("b" * 64, 4, DIM, "space-one")
    other_space = replace(deep, depth=1, space="space-two")
    models = (shared, deep, other_space)
    given = [one for seed, model in enumerate(models) for one in looks(9, seed=seed, model=model)]
    with open_gallery() as gallery:
        ids = added(gallery, given)
        assert set(gallery.models) == set(models)
    everything = list(zip(ids, given, strict=True))
    with open_gallery() as gallery:
        assert [record.model for record in gallery.get(ids)] == [one.model for one in given]
        query = looks(1, seed=5)[0].embedding
        # A network that the gallery has not seen yet, but of its space.
        int8 = ModelKey("c" * 64, 3, DIM, "space-one")
        for model, fits in (
            (shared, {shared, deep}),
            (deep, {shared, deep}),
            (int8, {shared, deep}),
            (other_space, {other_space}),
            # Without saying its space, it is known by its file.
            (replace(deep, space=""), {shared, deep}),
        ):
            (result,) = gallery.search(query, model=model, k=30)
            best = sorted(
                (one for one in everything if one[1].model in fits),
                key=lambda one: -float(query @ one[1].embedding),
            )
            assert result.sighting_ids.tolist() == [number for number, _ in best]
            assert result.depths.tolist() == [one.model.depth for _, one in best]
        (result,) = gallery.search(query, model=shared, k=30, where=Filter(depth=4))
        assert set(result.depths.tolist()) == {4}


def test_a_space_may_be_learned_after_the_first_sightings(open_gallery: Open) -> None:
    named = replace(MODEL, space="space-one")
    deep = ModelKey("b" * 64, 4, DIM, "space-one")
    with open_gallery() as gallery:
        first = added(gallery, looks(3))
        with pytest.raises(GalleryError, match="cannot be compared"):
            gallery.add(looks(1, seed=1, model=deep))
        added(gallery, looks(2, seed=2, model=named))
        added(gallery, looks(1, seed=1, model=deep))
        assert gallery.models == (named, deep)
        assert {record.model for record in gallery.get(first)} == {named}
        with pytest.raises(GalleryError, match="two spaces"):
            gallery.add(looks(1, model=replace(MODEL, space="space-two")))
        assert gallery.count() == 6


def test_who_asked_not_to_be_enrolled_is_refused_at_every_depth_of_the_space(
    gallery: Gallery,
) -> None:
    shallow, deep = replace(MODEL, space="space-one"), replace(MODEL, depth=4, space="space-one")
    given = looks(3, model=shallow)
    anna = gallery.enrol()
    added(gallery, [replace(given[0], person_id=anna), *given[1:]])
    gallery.forget(anna, suppress_above=0.9)
    assert gallery.add([replace(given[0], model=deep)]) == [None]
    assert gallery.add([replace(given[1], model=deep)]) != [None]


def test_embeddings_of_another_model_are_refused_and_nothing_is_stored(gallery: Gallery) -> None:
    added(gallery, looks(3))
    other = replace(MODEL, digest="b" * 64)
    with pytest.raises(GalleryError, match="bbbbbbbbbbbb"):
        gallery.add(looks(2, model=other))
    with pytest.raises(GalleryError, match="bbbbbbbbbbbb"):
        gallery.add([*looks(2), *looks(1, model=other)])
    with pytest.raises(GalleryError, match="bbbbbbbbbbbb"):
        gallery.search(looks(1)[0].embedding, model=other)
    assert gallery.count() == 3


def test_impossible_sightings_are_refused_all_together(gallery: Gallery) -> None:
    good, bad = looks(2)
    for wrong in (
        replace(bad, embedding=bad.embedding * 2),
        replace(bad, embedding=np.full(DIM, np.nan, np.float32)),
        replace(bad, camera_id=-1),
        replace(bad, person_id=12345),
    ):
        with pytest.raises(GalleryError):
            gallery.add([good, wrong])
    assert gallery.count() == 0
    with pytest.raises(GalleryError):
        gallery.search(good.embedding, model=MODEL, k=0)


def test_names_belong_to_one_person(gallery: Gallery) -> None:
    anna, nobody = gallery.enrol("Anna"), gallery.enrol()
    assert nobody != anna
    for name in ("Anna", " "):
        with pytest.raises(GalleryError):
            gallery.enrol(name)
    with pytest.raises(GalleryError, match="Anna"):
        gallery.name_person(nobody, "Anna")
    gallery.name_person(anna, 'Anna "the" \\ Ä')
    gallery.name_person(nobody, "Anna")
    assert [p.name for p in gallery.persons()] == ['Anna "the" \\ Ä', "Anna"]
    gallery.name_person(nobody, None)
    assert [p.name for p in gallery.persons()] == ['Anna "the" \\ Ä', None]
    assert gallery.names([anna, nobody, 99]) == {anna: 'Anna "the" \\ Ä', nobody: None}
    assert gallery.names([]) == {}
    with pytest.raises(GalleryError):
        gallery.name_person(99, "Berta")


def test_sightings_are_assigned_merged_and_split(gallery: Gallery) -> None:
    ids = added(gallery, looks(12))
    anna, berta = gallery.enrol(), gallery.enrol("Berta")
    assert gallery.assign(ids[:5], anna) == 5
    assert gallery.assign(ids[:7], anna) == 2
    assert gallery.assign(ids[7:9], berta) == 2
    with pytest.raises(GalleryError):
        gallery.assign([ids[0], 99], berta)
    with pytest.raises(GalleryError):
        gallery.assign(ids[:1], 99)
    before = {record.sighting_id: plain(record) for record in gallery.get(ids)}
    assert gallery.merge([berta, anna], into=anna) == 2
    assert anna in gallery.held()
    (only,) = gallery.persons()
    assert (only.person_id, only.name, only.num_sightings) == (anna, "Berta", 9)
    assert only.cameras == (0, 1, 2)
    new = gallery.split(ids[2:4], "Clara")
    assert new not in (anna, berta)
    assert [(p.name, p.num_sightings) for p in gallery.persons()] == [("Berta", 7), ("Clara", 2)]
    assert gallery.assign(ids[2:4], None) == 2
    # Nothing but the person has changed.
    for record in gallery.get(ids):
        assert {**plain(record), "person_id": 0} == {**before[record.sighting_id], "person_id": 0}
    (result,) = gallery.search(looks(12)[0].embedding, model=MODEL, k=1)
    assert result.person_ids.tolist() == [anna]


def test_erased_sightings_are_gone_from_every_answer(open_gallery: Open) -> None:
    given = looks(30)
    with open_gallery() as gallery, open_gallery() as other:
        ids = added(gallery, given)
        assert gallery.delete([*ids[:4], 99]) == 4
        assert gallery.delete(ids[:4]) == 0
        assert gallery.expire_before(1e9 + 10 / 7, Filter(cameras=frozenset({1}))) == 2
        assert gallery.expire_before(1e9 + 10 / 7) == 4
        left = ids[10:]
        for one in (gallery, other):
            assert one.count() == 20
            assert [r.sighting_id for batch in one.iterate() for r in batch] == left
            for result in one.search(np.stack([s.embedding for s in given]), model=MODEL, k=30):
                assert set(result.sighting_ids.tolist()) == set(left)
        assert not set(added(gallery, given[:3])) & set(ids)


def test_the_forgotten_are_not_found_and_not_enrolled_again(open_gallery: Open) -> None:
    given = looks(20)
    with open_gallery() as gallery:
        anna, berta = gallery.enrol("Anna"), gallery.enrol("Berta")
        people = [anna] * 6 + [berta] * 4 + [None] * 10
        given = [replace(s, person_id=p) for s, p in zip(given, people, strict=True)]
        ids = added(gallery, given)
        erasure = gallery.forget(anna)
        assert (erasure.person_id, erasure.sightings, erasure.thumbnails) == (anna, 6, 2)
        assert erasure.left_behind == 0
        assert erasure.is_proved == (erasure.files_searched > 0)
        assert erasure.suppressed_above is None
    with open_gallery() as gallery:
        assert [p.person_id for p in gallery.persons()] == [berta]
        assert gallery.get(ids[:6]) == []
        assert gallery.count() == 14
        for result in gallery.search(np.stack([s.embedding for s in given]), model=MODEL, k=20):
            assert set(result.sighting_ids.tolist()) == set(ids[6:])
        with pytest.raises(GalleryError, match="Anna"):
            gallery.enrol("Anna")
        with pytest.raises(GalleryError, match="Anna"):
            gallery.name_person(berta, "Anna")
        for action in (
            lambda: gallery.assign(ids[6:7], anna),
            lambda: gallery.forget(anna),
            lambda: gallery.add(given[:1]),
        ):
            with pytest.raises(GalleryError):
                action()
        assert gallery.enrol() not in (anna, berta)
        # Without a template they cannot be recognised, by nobody.
        assert None not in gallery.add([replace(given[0], person_id=None)])


def test_a_template_kept_on_request_refuses_new_sightings(open_gallery: Open) -> None:
    given = looks(8)
    with open_gallery() as gallery:
        anna = gallery.enrol()
        added(gallery, [replace(given[0], person_id=anna), *given[1:]])
        assert gallery.forget(anna, suppress_above=0.9).suppressed_above == 0.9
    with open_gallery() as gallery:
        ids = gallery.add([given[0], given[1]])
        assert ids[0] is None
        assert ids[1] is not None
        deeper = [replace(given[0], model=replace(MODEL, depth=3))]
        assert None not in gallery.add(deeper)
        assert gallery.count() == 9
        with pytest.raises(GalleryError):
            gallery.forget(gallery.enrol(), suppress_above=1.5)


def test_a_closed_gallery_says_so(open_gallery: Open) -> None:
    gallery = open_gallery()
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError):
        gallery.enrol()


def record_of(gallery: Gallery) -> StoredSighting:
    ((record,),) = gallery.iterate()
    return record


def test_numbers_keep_every_digit(gallery: Gallery) -> None:
    (given,) = looks(1)
    exact = replace(
        given, time_s=1_763_800_000.123456, quality=0.1, box_xyxy=(0.1, 0.2, 1 / 3, 2 / 3)
    )
    added(gallery, [exact])
    record = record_of(gallery)
    assert (record.time_s, record.quality, record.box_xyxy) == (
        exact.time_s,
        exact.quality,
        exact.box_xyxy,
    )
    np.testing.assert_array_equal(record.embedding, given.embedding)


def test_a_gallery_moves_here_and_back(open_gallery: Open, tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "old", create=True) as old:
        anna = old.enrol("Anna")
        given = [replace(s, person_id=anna) if s.track_id else s for s in looks(40)]
        added(old, given + looks(10, seed=1, model=replace(MODEL, depth=4)))
        with open_gallery() as here:
            assert move_gallery(old, here).searches == 20
        with open_gallery() as here, SqliteGallery(tmp_path / "back", create=True) as back:
            assert len(move_gallery(here, back).sighting_ids) == 50
            assert [plain(r) for batch in back.iterate() for r in batch] == [
                plain(r) for batch in old.iterate() for r in batch
            ]


def near(person: int, cosine: float, *, person_id: int | None, number: int = 0) -> Sighting:
    """A look at a cosine to the first axis."""
    other = np.zeros(DIM)
    other[1 + person] = 1
    embedding = cosine * np.eye(DIM)[0] + np.sqrt(1 - cosine**2) * other
    return Sighting(
        embedding=embedding.astype(np.float32),
        model=MODEL,
        camera_id=number % 3,
        time_s=1e9 + number,
        person_id=person_id,
    )


def test_persons_are_found_by_their_best_sighting_whoever_has_many(gallery: Gallery) -> None:
    query = np.eye(DIM, dtype=np.float32)[0]
    assert [len(one) for one in gallery.search_persons(query, model=MODEL)] == [0]
    anna, nameless, bela = gallery.enrol("Anna"), gallery.enrol(), gallery.enrol("Bela")
    gallery.enrol("Nobody saw her")
    ids = added(
        gallery,
        [
            *(near(9, 0.99, person_id=None, number=at) for at in range(30)),
            *(near(1, 0.9, person_id=nameless, number=at) for at in range(20)),
            near(0, 0.3, person_id=anna),
            near(0, 0.8, person_id=anna, number=1),
            near(2, 0.5, person_id=bela, number=2),
        ],
    )
    (result,) = gallery.search_persons(query, model=MODEL, k=2)
    assert result.best.person_ids.tolist() == [nameless, anna]
    assert result.names == (None, "Anna")
    np.testing.assert_allclose(result.best.similarity, [0.9, 0.8], atol=1e-6)
    assert int(result.best.sighting_ids[1]) == ids[-2]
    (result,) = gallery.search_persons(query, model=MODEL, named=True)
    assert result.names == ("Anna", "Bela")
    (result,) = gallery.search_persons(query, model=MODEL, without={ids[-2]})
    np.testing.assert_allclose(result.best.similarity, [0.9, 0.5, 0.3], atol=1e-6)
    assert result.num_persons >= 3
    where = Filter(cameras=frozenset({2}))
    (result,) = gallery.search_persons(query, model=MODEL, named=True, where=where)
    assert result.best.person_ids.tolist() == [bela]
    both = gallery.search_persons(np.stack([query, query]), model=MODEL, k=1)
    assert [one.names for one in both] == [(None,), (None,)]
    assert [one.sightings for one in both] == [None, None]


def test_sightings_are_found_beside_persons_as_by_a_search_of_their_own(gallery: Gallery) -> None:
    query = np.eye(DIM, dtype=np.float32)[0]
    anna = gallery.enrol("Anna")
    ids = added(
        gallery,
        [
            *(near(9, 0.99 - at / 100, person_id=None, number=at) for at in range(4)),
            near(0, 0.8, person_id=anna, number=1),
            near(0, 0.3, person_id=anna, number=2),
        ],
    )
    (found,) = gallery.search_persons(query, model=MODEL, k=1, sightings=5)
    assert found.best.sighting_ids.tolist() == [ids[4]]
    assert found.sightings is not None
    assert found.sightings.sighting_ids.tolist() == ids[:5]
    (alone,) = gallery.search(query, model=MODEL, k=5)
    np.testing.assert_allclose(found.sightings.similarity, alone.similarity, atol=1e-6)
    where = Filter(cameras=frozenset({1, 2}))
    (found,) = gallery.search_persons(
        query, model=MODEL, where=where, without={ids[1]}, named=True, sightings=2
    )
    assert found.names == ("Anna",)
    assert found.sightings is not None
    assert found.sightings.sighting_ids.tolist() == [ids[2], ids[4]]


def test_the_newest_come_first_a_page_at_a_time(gallery: Gallery) -> None:
    given = [replace(one, time_s=1e9 + at // 3) for at, one in enumerate(looks(20))]
    ids = added(gallery, given)
    wanted = sorted(((one.time_s, n) for one, n in zip(given, ids, strict=True)), reverse=True)
    found: list[tuple[float, int]] = []
    while page := gallery.newest(limit=6, before=found[-1] if found else None):
        found += [(one.time_s, one.sighting_id) for one in page]
    assert found == wanted
    (newest,) = gallery.newest(Filter(cameras=frozenset({0})), limit=1)
    assert newest.sighting_id == ids[18]


def test_facts_of_the_newest_are_those_of_their_records(gallery: Gallery) -> None:
    given = [
        replace(one, track_id=at or None, quality=at / 10, thumbnail=b"jpeg" if at % 2 else None)
        for at, one in enumerate(looks(6))
    ]
    ids = added(gallery, given)
    gallery.split(ids[:2], "Anna")
    where = Filter(cameras=frozenset({given[1].camera_id}))
    for wanted in (EVERYTHING, where):
        records = gallery.newest(wanted, limit=4)
        assert gallery.newest_facts(wanted, limit=4) == [SightingFacts.of(one) for one in records]
    first = gallery.newest_facts(limit=1)[0]
    (second,) = gallery.newest_facts(limit=1, before=(first.time_s, first.sighting_id))
    assert second == SightingFacts.of(gallery.newest(limit=2)[1])


def test_people_know_how_often_when_and_where_they_were_seen(gallery: Gallery) -> None:
    ids = added(gallery, [replace(one, time_s=1e9 - at) for at, one in enumerate(looks(9))])
    anna = gallery.split(ids[2:7], "Anna")
    nobody = gallery.enrol("Bela")
    gallery.delete(ids[2:3])
    theirs = gallery.get(ids[3:7])
    assert gallery.persons() == [
        Person(
            person_id=anna,
            name="Anna",
            num_sightings=4,
            first_seen_s=1e9 - 6,
            last_seen_s=1e9 - 3,
            cameras=tuple(sorted({one.camera_id for one in theirs})),
        ),
        Person(
            person_id=nobody,
            name="Bela",
            num_sightings=0,
            first_seen_s=None,
            last_seen_s=None,
            cameras=(),
        ),
    ]


def test_a_merge_is_followed_and_taken_back_with_the_old_numbers(gallery: Gallery) -> None:
    ids = added(gallery, looks(6))
    first, second = gallery.split(ids[:2], "Anna"), gallery.split(ids[2:4], "Annie")
    third = gallery.split(ids[4:])
    gallery.merge([third], second)
    gallery.merge([second], first)
    assert gallery.merged_into(first) == {second, third}
    assert gallery.gone([first, second, third, 99]) == {99}
    with pytest.raises(GalleryError):
        gallery.assign(ids[:1], second)
    assert gallery.unmerge(second, ids[2:4], name="Annie") == 2
    assert [(p.person_id, p.name, p.num_sightings) for p in gallery.persons()] == [
        (first, "Anna", 4),
        (second, "Annie", 2),
    ]
    with pytest.raises(GalleryError, match="not merged"):
        gallery.unmerge(second, [])
    gallery.forget(second)
    assert gallery.gone([first, second, third]) == {second, third}
    with pytest.raises(GalleryError, match="not merged"):
        gallery.unmerge(third, [])


def test_all_names_of_the_forgotten_are_barred_in_every_spelling(open_gallery: Open) -> None:
    with open_gallery() as gallery:
        person, other = gallery.enrol("Zoë Müller"), gallery.enrol("Chloé")
        gallery.name_person(person, "Zoë")
        gallery.merge([other], person)
        gallery.forget(person)
    with open_gallery() as gallery:
        for name in ("zoe\u0308  mu\u0308ller", "ZOË", "Chloe\u0301"):
            with pytest.raises(GalleryError, match=r"forgotten"):
                gallery.enrol(name)
        assert gallery.enrol("Zoey")


@pytest.mark.parametrize("given_by", ["enrolment", "renaming"])
def test_a_name_that_is_somebody_else_s_by_now_is_not_forgotten_with_who_had_it(
    gallery: Gallery, given_by: str
) -> None:
    mistaken = gallery.enrol("Ann Meier")
    gallery.name_person(mistaken, "Ben")
    ann = gallery.enrol("Ann Meier" if given_by == "enrolment" else None)
    gallery.name_person(ann, "Ann Meier")
    gallery.forget(mistaken)
    gallery.name_person(ann, "Ann")
    gallery.name_person(ann, "Ann Meier")
    with pytest.raises(GalleryError, match="Ben"):
        gallery.name_person(ann, "Ben")
    # What they were called themselves stays known.
    gallery.forget(ann)
    for name in ("Ann", "Ann Meier"):
        with pytest.raises(GalleryError, match="forgotten"):
            gallery.enrol(name)


def test_who_was_merged_by_mistake_keeps_their_name_when_the_other_is_forgotten(
    gallery: Gallery,
) -> None:
    anna, annie = gallery.enrol("Anna"), gallery.enrol("Annie")
    gallery.merge([annie], anna)
    gallery.unmerge(annie, [], name="Annie")
    gallery.forget(anna)
    gallery.name_person(annie, "Ann")
    gallery.name_person(annie, "Annie")
    assert gallery.names([annie]) == {annie: "Annie"}


def test_whoever_looks_alike_is_found_behind_many_others(gallery: Gallery) -> None:
    anna, split_off, stranger = gallery.enrol("Anna"), gallery.enrol(), gallery.enrol()
    added(gallery, [near(0, 1.0, person_id=anna)])
    unassigned = added(gallery, [near(1, 0.95, person_id=None, number=at) for at in range(150)])
    theirs = added(gallery, [near(2, 0.9, person_id=split_off, number=at) for at in range(120)])
    added(gallery, [near(3, 0.6, person_id=stranger), near(4, 0.6, person_id=None)])
    nobody, person = find_look_alikes(gallery, anna, least=0.7)
    assert (nobody.person_id, person.person_id) == (None, split_off)
    assert nobody.similarity == pytest.approx(0.95)
    assert person.similarity == pytest.approx(0.9)
    assert nobody.sighting_ids == tuple(unassigned)
    assert person.sighting_ids == tuple(theirs)


def test_who_has_neither_a_name_nor_a_sighting_leaves_and_nobody_else(gallery: Gallery) -> None:
    ids = added(gallery, looks(6))
    anna, stranger = gallery.split(ids[:1], "Anna"), gallery.split(ids[1:2])
    merged, seen = gallery.split(ids[2:3]), gallery.split(ids[3:4])
    gallery.merge([merged], stranger)
    gallery.delete(ids[:3])
    assert gallery.drop_emptied([anna, stranger, merged, seen, 99]) == 1
    assert [one.person_id for one in gallery.persons()] == [anna, seen]
    assert gallery.gone([anna, stranger, merged, seen]) == {stranger, merged}
    assert gallery.split(ids[4:5]) not in (anna, stranger, merged, seen)
