"""The loop: it learns, and an interruption leaves no trace in the weights."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from adln.errors import CheckpointError, SettingsError, TrainingError
from adln.losses.objective import ObjectiveWeights
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.training.common_space import CommonSpace, with_common_space
from adln.training.data import TrainingData
from adln.training.lesson import Lesson
from adln.training.loop import NETWORK_FILE, STATE_FILE, Outcome, Progress, build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.sampler import epoch_batches
from adln.training.schedule import Schedule
from adln.training.state import check_identity

PERSONS, CROPS_EACH = 4, 6


def recipe(**changes: object) -> Recipe:
    small: dict[str, object] = {
        "network": NetworkSettings(exits=(1, 2), imagenet=""),
        "batch": Batch(persons=2, crops=2, height_px=64, width_px=32),
        "schedule": Schedule(epochs=2, warmup_epochs=1, base_lr=1e-3),
    }
    return Recipe(**(small | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Persons that are plain colours with noise: easy to learn."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(PERSONS), CROPS_EACH)
    colours = rng.integers(0, 200, (PERSONS, 1, 1, 3))
    noise = rng.integers(0, 56, (len(labels), 64, 32, 3))
    return TrainingData((colours[labels] + noise).astype(np.uint8), labels, PERSONS, "drawn")


def run(
    folder: Path,
    data: TrainingData,
    chosen: Recipe | None = None,
    should_stop: Callable[[], str | None] = lambda: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    chosen = chosen if chosen is not None else recipe()
    return train(
        chosen,
        data,
        folder,
        fabric=build_fabric(chosen, device="cpu"),
        should_stop=should_stop,
        on_progress=on_progress,
    )


def stop_after(steps: int) -> Callable[[], str | None]:
    left = steps

    def check() -> str | None:
        nonlocal left
        left -= 1
        return "enough" if left == 0 else None

    return check


@pytest.fixture(scope="module")
def uninterrupted(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run(folder, data).finished
    return folder


def test_an_interruption_at_a_random_step_leaves_no_trace(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    all_steps = sum(
        len(epoch_batches(data.labels, persons=2, crops=2, seed=0, epoch=epoch)) for epoch in (1, 2)
    )
    steps = random.SystemRandom().randint(1, all_steps - 1)
    first = run(tmp_path, data, should_stop=stop_after(steps))
    assert not first.finished
    assert first.reason == "enough"
    assert not (tmp_path / NETWORK_FILE).exists()
    assert run(tmp_path, data).finished
    expected, got = load_file(uninterrupted / NETWORK_FILE), load_file(tmp_path / NETWORK_FILE)
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), f"{name} differs after stopping at step {steps}"
    csv = "log.csv"
    expected_rows = [row.split(",") for row in (uninterrupted / csv).read_text().splitlines()]
    got_rows = [row.split(",") for row in (tmp_path / csv).read_text().splitlines()]
    speed = expected_rows[0].index("images_per_s")
    for expected_row, got_row in zip(expected_rows, got_rows, strict=True):
        del expected_row[speed], got_row[speed]
        assert expected_row == got_row


def test_interrupted_after_every_step_it_still_ends_the_same(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    for _ in range(20):
        if run(tmp_path, data, should_stop=lambda: "again").finished:
            break
    expected, got = load_file(uninterrupted / NETWORK_FILE), load_file(tmp_path / NETWORK_FILE)
    assert all(torch.equal(tensor, got[name]) for name, tensor in expected.items())


def test_the_average_of_the_weights_survives_an_interruption(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    chosen = recipe(average_decay=0.9)
    assert run(tmp_path / "whole", data, chosen).finished
    assert not run(tmp_path / "legs", data, chosen, should_stop=stop_after(5)).finished
    assert run(tmp_path / "legs", data, chosen).finished
    whole, legs = (load_file(tmp_path / name / NETWORK_FILE) for name in ("whole", "legs"))
    last = load_file(uninterrupted / NETWORK_FILE)
    assert whole.keys() == legs.keys() == last.keys()
    assert all(torch.equal(tensor, legs[name]) for name, tensor in whole.items())
    assert not all(torch.equal(tensor, last[name]) for name, tensor in whole.items())


def test_a_finished_run_is_not_trained_again(data: TrainingData, uninterrupted: Path) -> None:
    before = (uninterrupted / NETWORK_FILE).stat().st_mtime_ns
    assert run(uninterrupted, data).finished
    assert (uninterrupted / NETWORK_FILE).stat().st_mtime_ns == before
    assert not (uninterrupted / STATE_FILE).exists()


def test_the_network_says_where_it_comes_from(uninterrupted: Path) -> None:
    path = uninterrupted / NETWORK_FILE
    assert load_network(path).architecture.num_classes == PERSONS
    assert read_provenance(path)["run"]["recipe"]["seed"] == 0


def test_another_recipe_is_refused_and_named(data: TrainingData, tmp_path: Path) -> None:
    run(tmp_path, data, should_stop=stop_after(1))
    with pytest.raises(CheckpointError, match=r"recipe.weight_decay was 0.0005, now 0.1"):
        run(tmp_path, data, recipe(weight_decay=0.1))


def test_other_pictures_are_refused_and_a_run_of_before_goes_on(
    data: TrainingData, tmp_path: Path
) -> None:
    run(tmp_path, replace(data, pictures="these"), should_stop=stop_after(1))
    with pytest.raises(CheckpointError, match=r"pictures was 'these', now 'others'"):
        run(tmp_path, replace(data, pictures="others"))
    check_identity(tmp_path, {"data": "drawn"}, {"data": "drawn", "pictures": "these"})


def test_a_truncated_state_is_refused(data: TrainingData, tmp_path: Path) -> None:
    run(tmp_path, data, should_stop=stop_after(1))
    state = tmp_path / STATE_FILE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        run(tmp_path, data)


def test_it_learns(data: TrainingData, tmp_path: Path) -> None:
    seen: list[Progress] = []
    chosen = recipe(schedule=Schedule(epochs=8, warmup_epochs=0, base_lr=2e-4))
    run(tmp_path, data, chosen, on_progress=seen.append)
    assert seen[-1].losses["identity/2"] < seen[0].losses["identity/2"]
    assert seen[-1].epoch == seen[-1].epochs == 8
    assert seen[-1].remaining_s == 0
    assert set(seen[0].losses) == {
        "total",
        *(f"{part}/{depth}" for part in ("identity", "triplet", "center") for depth in (1, 2)),
        "attention_transfer",
        "distillation/1",
    }


def test_a_loss_that_is_not_a_number_stops_the_run(data: TrainingData, tmp_path: Path) -> None:
    wild = recipe(schedule=Schedule(epochs=3, warmup_epochs=0, base_lr=1e30))
    with pytest.raises(TrainingError, match=r"no longer a number in epoch \d.*schedule.base_lr"):
        run(tmp_path, data, wild)
    assert not (tmp_path / NETWORK_FILE).exists()


@pytest.mark.parametrize(
    "without",
    [{"center": 0.0}, {"attention_transfer": 0.0}, {"distillation": 0.0}, {"triplet": 0.0}],
)
def test_parts_can_be_left_out(
    data: TrainingData, tmp_path: Path, without: dict[str, float]
) -> None:
    seen: list[Progress] = []
    chosen = recipe(
        objective=ObjectiveWeights(**without), schedule=Schedule(epochs=1, warmup_epochs=0)
    )
    assert run(tmp_path, data, chosen, on_progress=seen.append).finished
    (part,) = without
    assert not [name for name in seen[0].losses if name.startswith(part)]


def test_all_four_exits_and_mixed_precision_train(data: TrainingData, tmp_path: Path) -> None:
    chosen = recipe(
        network=NetworkSettings(imagenet=""),
        schedule=Schedule(epochs=1, warmup_epochs=0),
        precision="bf16-mixed",
    )
    outcome = run(tmp_path, data, chosen, should_stop=stop_after(2))
    assert outcome.position.step == 2


def test_a_run_can_start_from_a_trained_network(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    trained = uninterrupted / NETWORK_FILE
    chosen = recipe(
        network=NetworkSettings(exits=(1, 2), start_from=str(trained)),
        schedule=Schedule(epochs=1, warmup_epochs=1, warmup_factor=0.0),
    )
    assert run(tmp_path, data, chosen).finished
    before, after = load_file(trained), load_file(tmp_path / NETWORK_FILE)
    assert torch.equal(before["stem.conv1.weight"], after["stem.conv1.weight"])  # rate 0
    other = recipe(network=NetworkSettings(exits=(3,), imagenet="", start_from=str(trained)))
    with pytest.raises(CheckpointError, match="must share at least one exit"):
        run(tmp_path / "other", data, other)


def test_a_network_without_instance_norm_can_go_on_with_it(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    plain = uninterrupted / NETWORK_FILE
    chosen = recipe(
        network=NetworkSettings(exits=(1, 2), start_from=str(plain), instance_norm=True),
        schedule=Schedule(epochs=1, warmup_epochs=1, warmup_factor=0.0),
    )
    assert run(tmp_path, data, chosen).finished
    before, after = load_network(plain), load_network(tmp_path / NETWORK_FILE)
    assert after.architecture.instance_norm
    name = "stages.1.0.bn1.weight"
    assert torch.equal(before.get_parameter(name), after.get_parameter(name))  # rate 0
    crops = torch.from_numpy(data.crops[:4]).permute(0, 3, 1, 2)
    with torch.no_grad():
        answers = [network(crops).deepest.embedding for network in (before, after)]
    assert not torch.allclose(*answers)


def test_row_weights_are_learned_and_taken_along_at_another_height(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    plain = uninterrupted / NETWORK_FILE
    chosen = recipe(
        network=NetworkSettings(exits=(1, 2), start_from=str(plain), row_weights=True),
        schedule=Schedule(epochs=1, warmup_epochs=0),
    )
    assert run(tmp_path / "weighted", data, chosen).finished
    weighted = tmp_path / "weighted" / NETWORK_FILE
    learned = load_file(weighted)["exits.2.row_weights"]
    assert learned.shape == (2048, 4)
    assert 0 < (learned - 1).abs().max() < 0.5
    still = replace(chosen.schedule, warmup_epochs=1, warmup_factor=0.0)
    taller = replace(
        chosen,
        network=replace(chosen.network, start_from=str(weighted)),
        batch=replace(chosen.batch, height_px=128),
        schedule=still,
    )
    outcome = run(tmp_path / "taller", data, taller)
    assert outcome.finished
    assert "row weights resampled for crops 128 px high" in outcome.start
    stretched = load_file(tmp_path / "taller" / NETWORK_FILE)["exits.2.row_weights"]
    torch.testing.assert_close(stretched[:, 0], learned[:, 0])
    assert stretched.shape == (2048, 8)
    forgetful = replace(chosen, network=replace(taller.network, row_weights=False))
    with pytest.raises(CheckpointError, match="row_weights=True"):
        run(tmp_path / "forgetful", data, forgetful)


def test_a_network_that_knows_other_people_gives_all_but_its_classifiers(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    known = load_network(uninterrupted / NETWORK_FILE)
    maps = {depth: torch.ones(3, 2048) for depth in (1, 2)}
    aligned = with_common_space(known, CommonSpace(maps, torch.ones(PERSONS, 3)))
    save_network(tmp_path / "aligned.safetensors", aligned)
    some = data.labels < PERSONS - 1
    fewer = TrainingData(data.crops[some], data.labels[some], PERSONS - 1, "fewer")
    for number, (trained, persons) in enumerate(
        ((uninterrupted / NETWORK_FILE, fewer), (tmp_path / "aligned.safetensors", data))
    ):
        chosen = recipe(
            network=NetworkSettings(exits=(1, 2), start_from=str(trained)),
            schedule=Schedule(epochs=1, warmup_epochs=1, warmup_factor=0.0),
        )
        outcome = run(tmp_path / str(number), persons, chosen)
        assert "classifiers" in outcome.start
        before = load_file(uninterrupted / NETWORK_FILE)
        after = load_file(tmp_path / str(number) / NETWORK_FILE)
        name = "exits.2.reduction.0.weight"
        assert torch.equal(before[name], after[name])  # rate 0
        assert after["exits.2.classifier.weight"].shape == (persons.num_classes, 2048)
    frozen = NetworkSettings(
        exits=(2, 3), imagenet="", start_from=str(uninterrupted / NETWORK_FILE), frozen_depth=2
    )
    with pytest.raises(CheckpointError, match=f"has {PERSONS} persons"):
        run(tmp_path / "frozen", fewer, recipe(network=frozen))


def test_a_trained_network_grows_deeper_and_its_own_answers_stay(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    trained = uninterrupted / NETWORK_FILE
    chosen = recipe(
        network=NetworkSettings(
            exits=(2, 3),
            imagenet="",
            start_from=str(trained),
            shared_classifier=True,
            frozen_depth=2,
        ),
        schedule=Schedule(epochs=1, warmup_epochs=0),
    )
    assert not run(tmp_path, data, chosen, should_stop=stop_after(1)).finished
    assert run(tmp_path, data, chosen).finished
    before, after = load_file(trained), load_file(tmp_path / NETWORK_FILE)
    for name in after.keys() & before.keys():
        assert torch.equal(before[name], after[name]), name
    shared = after["exits.2.classifier.weight"]
    assert torch.equal(shared, after["exits.3.classifier.weight"])
    grown = load_network(tmp_path / NETWORK_FILE)
    crops = torch.from_numpy(data.crops[:3]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        assert torch.equal(
            load_network(trained)(crops).exits[2].embedding, grown(crops).exits[2].embedding
        )


def test_statistics_stay_where_they_are_to_stay_and_weights_move(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    chosen = recipe(
        network=NetworkSettings(
            exits=(1, 2),
            imagenet="",
            start_from=str(uninterrupted / NETWORK_FILE),
            frozen_statistics=True,
        ),
        schedule=Schedule(epochs=1, warmup_epochs=0),
        average_decay=0.5,
    )
    assert not run(tmp_path, data, chosen, should_stop=stop_after(1)).finished
    assert run(tmp_path, data, chosen).finished
    before = load_file(uninterrupted / NETWORK_FILE)
    after = load_file(tmp_path / NETWORK_FILE)
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) > 20
    for name in statistics:
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["exits.2.bnneck.weight"], after["exits.2.bnneck.weight"])
    with pytest.raises(SettingsError, match=r"start_from must name one"):
        NetworkSettings(frozen_statistics=True)


def test_a_run_goes_on_although_a_setting_has_come_since(tmp_path: Path) -> None:
    stored = {"recipe": {"network": {"exits": [1, 2]}}}
    younger = {"recipe": {"network": {"exits": (1, 2), "frozen_statistics": False}}}
    check_identity(tmp_path, stored, younger)
    younger["recipe"]["network"]["frozen_statistics"] = True
    with pytest.raises(CheckpointError, match=r"frozen_statistics was None, now True"):
        check_identity(tmp_path, stored, younger)


def test_one_classifier_learns_from_all_exits(data: TrainingData, tmp_path: Path) -> None:
    chosen = recipe(
        network=NetworkSettings(exits=(1, 2), imagenet="", shared_classifier=True),
        objective=ObjectiveWeights(alignment=1.0),
        average_decay=0.5,
    )
    seen: list[Progress] = []
    assert run(tmp_path, data, chosen, on_progress=seen.append).finished
    assert 0 < seen[-1].losses["alignment/1"] < 2
    stored = load_file(tmp_path / NETWORK_FILE)
    assert torch.equal(stored["exits.1.classifier.weight"], stored["exits.2.classifier.weight"])
    assert not torch.equal(stored["exits.1.bnneck.weight"], stored["exits.2.bnneck.weight"])


def test_what_cannot_stay_frozen_is_named(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    trained = str(uninterrupted / NETWORK_FILE)
    with pytest.raises(SettingsError, match="less than the deepest exit 2"):
        NetworkSettings(exits=(1, 2), start_from=trained, frozen_depth=2)
    with pytest.raises(SettingsError, match="must name a trained network"):
        NetworkSettings(frozen_depth=2)
    chosen = recipe(
        network=NetworkSettings(exits=(2, 3, 4), imagenet="", start_from=trained, frozen_depth=3)
    )
    with pytest.raises(CheckpointError, match=r"frozen_depth = 3 cannot be kept"):
        run(tmp_path, data, chosen)


@pytest.mark.parametrize("exits", [(), (5,), (0, 1), (2, 1), (1, 1)])
def test_exits_that_no_network_has_are_refused_before_anything_is_read(
    exits: tuple[int, ...],
) -> None:
    with pytest.raises(SettingsError, match=r"network\.exits"):
        NetworkSettings(exits=exits, imagenet="")


def test_numbers_with_which_torch_or_numpy_would_fail_are_refused() -> None:
    for wrong in ({"weight_decay": -1.0}, {"seed": -1}, {"seed": 2**63}):
        with pytest.raises(SettingsError, match=f"{next(iter(wrong))} must be at least 0"):
            Recipe(**wrong)  # type: ignore[arg-type]
    for eps in (0.0, -1.0):
        with pytest.raises(SettingsError, match=r"network\.bn_eps must be more than 0"):
            NetworkSettings(bn_eps=eps)


def test_the_end_by_nan_says_whether_a_state_was_kept(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = recipe(schedule=Schedule(epochs=3, warmup_epochs=0, base_lr=1e30))
    with pytest.raises(TrainingError) as caught:
        run(tmp_path / "without", data, wild)
    assert "is kept" not in str(caught.value)
    assert not run(tmp_path / "with", data, wild, should_stop=stop_after(1)).finished
    with pytest.raises(TrainingError, match=r"The previous state is kept in .*with"):
        run(tmp_path / "with", data, wild)


class Whiter(Lesson):
    """Draws embeddings to the mean of all, which it remembers from before the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = 0.5
        self.identity = {"of": "the mean"}
        self.begun = 0
        self.register_buffer("mean", torch.zeros(2048))

    def begin(self, embeddings: torch.Tensor) -> None:
        self.begun += 1
        assert embeddings.shape == (PERSONS * CROPS_EACH, 2048)
        self.mean = embeddings.mean(0)

    def forward(self, embeddings: Mapping[int, torch.Tensor], crops: torch.Tensor) -> torch.Tensor:
        assert all(len(rows) == len(crops) for rows in embeddings.values())
        deepest = embeddings[max(embeddings)]
        self.mean = 0.9 * self.mean + 0.1 * deepest.detach().mean(0)
        return (deepest - self.mean).square().mean()


def learn(folder: Path, data: TrainingData, lesson: Lesson, *steps: int) -> Path:
    chosen = recipe()
    for stop in (*map(stop_after, steps), lambda: None):
        fabric = build_fabric(chosen, device="cpu")
        outcome = train(chosen, data, folder, fabric=fabric, lesson=lesson, should_stop=stop)
    assert outcome.finished
    return outcome.network_path


def test_a_lesson_looks_before_each_epoch_and_changes_what_is_learned(
    data: TrainingData, uninterrupted: Path, tmp_path: Path
) -> None:
    lesson = Whiter()
    learned = load_file(learn(tmp_path, data, lesson))
    assert lesson.begun == 2
    without = load_file(uninterrupted / NETWORK_FILE)
    assert learned.keys() == without.keys()
    assert any(not torch.equal(tensor, without[name]) for name, tensor in learned.items())
    assert "lesson" in (tmp_path / "log.csv").read_text().splitlines()[0]


def test_an_interruption_within_a_lesson_leaves_no_trace(
    data: TrainingData, tmp_path: Path
) -> None:
    whole = load_file(learn(tmp_path / "whole", data, Whiter()))
    parts = load_file(learn(tmp_path / "parts", data, Whiter(), 1, 3))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    run_of = read_provenance(tmp_path / "whole" / NETWORK_FILE)["run"]
    assert run_of["lesson"] == {"of": "the mean"}
