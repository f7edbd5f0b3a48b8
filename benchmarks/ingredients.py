r"""What each ingredient of the training gives on people whom the network has never seen.

    python -m benchmarks.ingredients run --data data/Market-1501-v15.09.15 \
        --judge data/CUHK/labeled --teacher person-reidentification-retail-0277.xml \
        --people data/street --out runs/ingredients
    python -m benchmarks.ingredients show --out runs/ingredients

Each row is one pass over as many crops as Market-1501's training split has, by
`recipes/generalising-128x64.toml` with one change to the base (imitation alone, erasing at 0.5, the
teacher sees the augmented crop), from `models/market1501.safetensors`. It is judged on the training
people of `--judge`, whom no row trains on, under both of their cameras. A run that is cut off is
repeated with the same command and goes on.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from adln.datasets.catalogue import open_dataset
from adln.datasets.listing import pictures_below
from adln.datasets.split import Split
from adln.evaluation.protocol import evaluate
from adln.evaluation.unseen import measure_set
from adln.model.checkpoint import load_network
from adln.model.embedder import TorchEmbedder
from adln.scenes.synthetic import Plan, draw_dataset
from adln.settings import read_settings
from adln.training import loop
from adln.training.data import TrainingData, evenly, load_training_data
from adln.training.recipe import Recipe
from adln.training.teacher import Teacher

ROOT = Path(__file__).parent.parent
BASE = (
    "schedule.epochs=1",
    "average_decay=0.99",
    "batch.persons=0",
    "batch.crops=0",
    "batch.unlabelled=64",
    "objective.relation=0",
    "augmentation.padding_px=5",
    "augmentation.zoom=0",
    "augmentation.erase_probability=0.5",
    "augmentation.erase_area=[0.02, 0.4]",
    "augmentation.recolour_probability=0",
    "augmentation.brightness=0",
    "augmentation.contrast=0",
    "augmentation.saturation=0",
    "augmentation.hue=0",
    "augmentation.grey_probability=0",
    "augmentation.shuffle_probability=0",
    "augmentation.compose_probability=0",
)
COLOURS = (
    "augmentation.recolour_probability=0.6",
    "augmentation.brightness=0.3",
    "augmentation.contrast=0.2",
    "augmentation.saturation=0.4",
    "augmentation.hue=0.5",
    "augmentation.grey_probability=0.05",
    "augmentation.shuffle_probability=0.1",
)
LABELS = ("batch.persons=16", "batch.crops=4", "batch.unlabelled=0")
RELATION = ("objective.relation=30",)
ERASING = ("augmentation.erase_probability=0.2", "augmentation.erase_area=[0.02, 0.25]")
ZOOM = ("augmentation.zoom=0.12", "augmentation.padding_px=10")
INSTANCE_NORM = ("network.instance_norm=true",)
COMPOSED = ("augmentation.compose_probability=0.5",)
ALL = (*RELATION, *COLOURS, *ERASING, *ZOOM, *COMPOSED)
OTHERS = "other people in half of the crops"
ALL_OTHERS = "all, and other people in half of the crops"
DRAWN = "drawn people in half of the crops"
STORED = "the teacher's embeddings of the whole crops, stored"
ROWS = {
    "base": (),
    "relational term": RELATION,
    "colour changes": COLOURS,
    "less erasing": ERASING,
    "zoom and larger shifts": ZOOM,
    "crops composed of two people": COMPOSED,
    STORED: (),
    "batches of 16 persons": LABELS,
    "the same and AM-softmax of the labels": (*LABELS, "objective.margin_identity=0.5"),
    "the same and contrast with each camera": (*LABELS, "objective.camera_contrast=3"),
    "instance norm for half of the channels": INSTANCE_NORM,
    DRAWN: (),
    OTHERS: (),
    "all": ALL,
    ALL_OTHERS: ALL,
    "all, and instance norm for half of the channels": (*ALL, *INSTANCE_NORM),
    "all, crops of 192x96 px": (*ALL, "batch.height_px=192", "batch.width_px=96"),
    "all, crops of 256x128 px": (*ALL, "batch.height_px=256", "batch.width_px=128"),
}
DRAWN_PEOPLE = Plan(num_train_persons=400, crops_per_camera=4)


def recipe_of(name: str, teacher: Path) -> Recipe:
    """The recipe of a row."""
    path = json.dumps(str(teacher))
    taught = f"teacher={path}" if name == STORED else f"teacher_network.path={path}"
    untaught = ('teacher_network.path=""',) if name == STORED else ()
    start = f"network.start_from={json.dumps(str(ROOT / 'models/market1501.safetensors'))}"
    recipe = ROOT / "recipes" / "generalising-128x64.toml"
    return read_settings(Recipe, recipe, [start, taught, *untaught, *BASE, *ROWS[name]])


def data_of(
    name: str, train: Split, whole: TrainingData, people: Path | None, out: Path, recipe: Recipe
) -> TrainingData:
    """The crops of a row; `whole` are those of `train`, which most rows have."""
    unlabelled: list[Path] = []
    if name in (OTHERS, ALL_OTHERS):
        if people is None:
            raise click.UsageError(f"the row {name!r} needs --people")
        unlabelled = list(pictures_below(people))
    if name == DRAWN:
        unlabelled = list(draw_dataset(out / "drawn", DRAWN_PEOPLE).train.paths)
    if unlabelled:
        half = len(train) // 2
        unlabelled = [unlabelled[place] for place in evenly(len(unlabelled), half)]
        train = train.select(evenly(len(train), len(train) - len(unlabelled)))
        return load(train, recipe, unlabelled)
    if name == STORED:
        teacher = Teacher(recipe_of("base", Path(recipe.teacher)).teacher_network, bf16=True)
        embeddings = [
            teacher(torch.from_numpy(part).permute(0, 3, 1, 2)).numpy()
            for part in np.array_split(whole.crops, max(1, len(whole.crops) // 256))
        ]
        return replace(
            whole, teacher_embeddings=np.concatenate(embeddings), teacher_space=teacher.space
        )
    return whole


def load(train: Split, recipe: Recipe, unlabelled: Sequence[Path] = ()) -> TrainingData:
    """Read crops at the size that a recipe stores."""
    height, width = recipe.batch.stored_size_px
    return load_training_data(train, height_px=height, width_px=width, unlabelled=unlabelled)


def folder_of(name: str, out: Path) -> Path:
    """Folder of a row's run."""
    return out / re.sub(r"\W+", "-", name)


@click.group()
def main() -> None:
    """What each ingredient of the training gives on unseen people."""


@main.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--judge", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--teacher", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--people", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)))
def run(
    data: Path, judge: Path, teacher: Path, people: Path | None, out: Path, only: tuple[str, ...]
) -> None:
    """Train and judge the rows that are not there yet."""
    train = open_dataset(data, "auto").train
    seen_by = open_dataset(judge, "auto").train
    first = seen_by.camera_ids == seen_by.camera_ids.min()
    query, gallery = seen_by.select(first), seen_by.select(~first)
    whole = load(train, recipe_of("base", teacher))  # of one size in all rows
    for name in ROWS:
        folder = folder_of(name, out)
        if (folder / "row.json").is_file() or (only and name not in only):
            continue
        recipe = recipe_of(name, teacher)
        crops = data_of(name, train, whole, people, out, recipe)
        begun = time.monotonic()
        outcome = loop.train(recipe, crops, folder, fabric=loop.build_fabric(recipe))
        if not outcome.finished:
            raise SystemExit(f"stopped in {name!r}; the same command goes on")
        minutes = (time.monotonic() - begun) / 60
        embedder = TorchEmbedder(
            load_network(outcome.network_path), device="cpu", flip=False, bf16=True
        )
        found = evaluate(embedder, query, gallery, batch_size=64)
        rows = measure_set(found, dataset=judge.name, seen="unseen")
        facts = {"name": name, "minutes": minutes, "crops": len(crops.crops)}
        facts["depths"] = [asdict(row) for row in rows]
        (folder / "row.json").write_text(json.dumps(facts, indent=1, default=str))
        click.echo(_line(facts))


@main.command()
@click.option("--out", type=click.Path(exists=True, path_type=Path), required=True)
def show(out: Path) -> None:
    """Print the table of what is there, in Markdown."""
    click.echo("| change | Res1: Rank-1 / mAP, TPR at 0.1 % / 1 % | Res2 | minutes |")
    click.echo("|---|---|---|---|")
    for name in ROWS:
        path = folder_of(name, out) / "row.json"
        if path.is_file():
            click.echo(_line(json.loads(path.read_text())))


def _line(facts: dict[str, Any]) -> str:
    names = ("rank1", "mean_ap", "tpr_at_one_per_mille", "tpr_at_one_percent")
    cells = []
    for row in facts["depths"]:
        rank1, mean_ap, low, high = (100 * row[name]["value"] for name in names)
        cells.append(f"{rank1:.1f} / {mean_ap:.1f}, {low:.1f} / {high:.1f}")
    return f"| {facts['name']} | {' | '.join(cells)} | {facts['minutes']:.0f} |"


if __name__ == "__main__":
    main()
