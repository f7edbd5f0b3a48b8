r"""Tables 1 and 2 of the paper, cell by cell: train, evaluate, write down, go on where it stopped.

    python -m benchmarks.paper_tables run --budget gpu --data data/Market-1501-v15.09.15 \
        --imagenet resnet50.safetensors --out runs/paper-gpu --minutes 13
    python -m benchmarks.paper_tables show --out runs/paper-gpu

Nobody outside teaches, and nothing but the data set's training split is learned from. A run that is
cut off, by --minutes or otherwise, is repeated with the same command and goes on; a second process
with the same command takes the cells that the first has not begun. In this order:

1. all four exits at once, by the paper's objective: Table 1;
2. each exit alone, at the same budget: does the deeper one help the shallower?
3. Table 2: the baseline, each idea alone, and all, with as many seeds as the time allows.

Budgets: `gpu` has the paper's crops and its schedule for Table 1, and fewer epochs for the rest;
`cpu` has crops of 128x64 px and few epochs, `try` a single one at 64x32 px, to see that it runs.
Weights at the top of the network that the file named with --imagenet lacks are drawn.
"""

import fcntl
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from adln.datasets.catalogue import open_dataset
from adln.datasets.split import ReidDataset
from adln.evaluation.protocol import evaluate
from adln.model.checkpoint import load_network
from adln.model.embedder import TorchEmbedder
from adln.settings import read_settings
from adln.training.data import TrainingData, load_training_data
from adln.training.loop import Progress, build_fabric, train
from adln.training.recipe import Recipe
from adln.training.stopping import StopCheck, stop_on_request

RECIPES = Path(__file__).parent.parent / "recipes"
JOINT = "all four exits"
IDEAS = {
    "baseline": "ablation/baseline.toml",
    "DIA": "ablation/attention.toml",
    "attention transfer": "ablation/transfer.toml",
    "decoupled distillation": "ablation/distillation.toml",
    "both distillations": "ablation/transfer-distillation.toml",
    "all": "market1501.toml",
}
# What the paper prints for Market-1501: Rank-1 and mAP of Table 1.
PRINTED = {1: (73.0, 49.5), 2: (92.4, 82.5), 3: (95.2, 89.0), 4: (95.8, 89.2)}
DRAWS = 1000
Filled = dict[str, Any]
"""What is written down of a cell."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much each cell may cost.

    Attributes:
        size_px: height and width of crops.
        table1_epochs: of the run with four exits, and of each exit alone.
        table2_epochs: of each row of Table 2.
        seeds: of Table 2.
        is_papers: whether Table 1 has the paper's steps in place of a cosine.
        flip: whether crops are averaged with their mirror images where they are judged.
    """

    size_px: tuple[int, int]
    table1_epochs: int
    table2_epochs: int
    seeds: int
    is_papers: bool = False
    flip: bool = True


BUDGETS = {
    "gpu": Budget(size_px=(256, 128), table1_epochs=160, table2_epochs=40, seeds=3, is_papers=True),
    "cpu": Budget(size_px=(128, 64), table1_epochs=12, table2_epochs=4, seeds=2, flip=False),
    "try": Budget(size_px=(64, 32), table1_epochs=1, table2_epochs=1, seeds=2, flip=False),
}


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        table: 1 or 2.
        name: of the row.
        recipe: file below `recipes/`.
        epochs: of the run.
        seed: of everything that is drawn.
    """

    table: int
    name: str
    recipe: str
    epochs: int
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"table{self.table}-{self.name.replace(' ', '-')}-seed{self.seed}"


def cells(budget: Budget) -> Iterator[Cell]:
    """All runs, what matters most first."""
    yield Cell(1, JOINT, "market1501.toml", budget.table1_epochs, 0)
    for seed in range(budget.seeds):
        for name, recipe in IDEAS.items():
            yield Cell(2, name, recipe, budget.table2_epochs, seed)
        if seed == 0:
            for depth in (2, 1, 3, 4):
                yield Cell(
                    1, f"Res{depth} alone", f"alone/res{depth}.toml", budget.table1_epochs, 0
                )


def recipe_of(cell: Cell, budget: Budget, imagenet: Path | None, own: Sequence[str]) -> Recipe:
    """The recipe of a cell: the paper's, but for what the budget shortens."""
    height, width = budget.size_px
    changes = [
        f"seed={cell.seed}",
        f"schedule.epochs={cell.epochs}",
        f"batch.height_px={height}",
        f"batch.width_px={width}",
        f"augmentation.padding_px={max(1, round(10 * height / 256))}",
        f"network.imagenet={json.dumps('' if imagenet is None else str(imagenet))}",
        'network.imagenet_sha256=""',
    ]
    if not (budget.is_papers and cell.table == 1):
        # The paper's proportions, on a curve that comes to rest in as many epochs as there are.
        changes += [
            'schedule.shape="cosine"',
            "schedule.every_step=true",
            f"schedule.warmup_epochs={math.ceil(cell.epochs / 16)}",
            f"objective.distillation_warmup_epochs={math.ceil(cell.epochs / 8)}",
        ]
    return read_settings(Recipe, RECIPES / cell.recipe, [*changes, *own])


@click.group()
def main() -> None:
    """Tables 1 and 2 of the paper."""


@main.command()
@click.option("--budget", "budget_name", type=click.Choice(list(BUDGETS)), required=True)
@click.option("--data", "data_path", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--imagenet", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", type=float, help="Stop after so long; the same command goes on.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--only", multiple=True, help="A cell, such as table2-DIA-seed1; may be repeated.")
@click.option("--set", "own", multiple=True, metavar="KEY=VALUE", help="For every recipe.")
def run(
    budget_name: str,
    data_path: Path,
    imagenet: Path | None,
    out: Path,
    minutes: float | None,
    device: str,
    only: tuple[str, ...],
    own: tuple[str, ...],
) -> None:
    """Fill the cells that are still empty."""
    budget = BUDGETS[budget_name]
    chosen = [cell for cell in cells(budget) if not only or cell.folder in only]
    if unknown := set(only) - {cell.folder for cell in chosen}:
        raise click.UsageError(
            f"no cell {', '.join(sorted(unknown))}; there are "
            f"{', '.join(cell.folder for cell in cells(budget))}"
        )
    dataset = open_dataset(data_path, "auto")
    with stop_on_request(None if minutes is None else 60 * minutes) as should_stop:
        data = load_training_data(
            dataset.train, height_px=budget.size_px[0], width_px=budget.size_px[1]
        )
        for cell in chosen:
            with _claimed(out / cell.folder) as is_ours:
                if not is_ours or (out / cell.folder / "cell.json").is_file():
                    continue
                recipe = recipe_of(cell, budget, imagenet, own)
                if not fill(cell, recipe, budget, dataset, data, out, device, should_stop):
                    raise SystemExit(f"stopped in {cell.folder}; the same command goes on")
    click.echo("all cells are there, or another process fills them")


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether no other process fills the cell of this folder, nor begins to within the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def fill(
    cell: Cell,
    recipe: Recipe,
    budget: Budget,
    dataset: ReidDataset,
    data: TrainingData,
    out: Path,
    device: str,
    should_stop: StopCheck,
) -> bool:
    """Train and judge one cell; whether it came to its end."""
    folder = out / cell.folder
    outcome = train(
        recipe,
        data,
        folder,
        fabric=build_fabric(recipe, device=device),
        provenance={"data": dataset.name},
        should_stop=should_stop,
        on_start=lambda start, at: click.echo(f"{cell.folder}: epoch {at.epoch}, {start}"),
        on_progress=_progress(),
    )
    if not outcome.finished or should_stop() is not None:
        return False
    network = load_network(outcome.network_path)
    place = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    embedder = TorchEmbedder(network, device=place, flip=budget.flip, bf16=True)
    found = evaluate(embedder, dataset.query, dataset.gallery, batch_size=64)
    metrics = {depth: result.metrics for depth, result in found.results.items()}
    speeds = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)["images_per_s"]
    facts = {
        **asdict(cell),
        "size_px": budget.size_px,
        "flip": budget.flip,
        "batch": [recipe.batch.persons, recipe.batch.crops],
        "crops": len(data.crops),
        "images_per_s": float(np.mean(np.atleast_1d(speeds))),
        "machine": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if place == "cuda" else "",
        "commit": _commit(),
        "rank1": {depth: one.rank1 for depth, one in metrics.items()},
        "map": {depth: one.mean_ap for depth, one in metrics.items()},
        "precisions": {
            depth: one.average_precision.round(6).tolist() for depth, one in metrics.items()
        },
    }
    (folder / "cell.json").write_text(json.dumps(facts, indent=1))
    click.echo(f"{cell.folder}: " + _figures(facts["rank1"], facts["map"]))
    return True


def _progress() -> Callable[[Progress], None]:
    """Prints an epoch at its end."""
    begun = time.monotonic()

    def tell(progress: Progress) -> None:
        if progress.step == progress.steps:
            minutes = (time.monotonic() - begun) / 60
            click.echo(
                f"  epoch {progress.epoch}/{progress.epochs}, {progress.images_per_s:.0f} images/s,"
                f" {minutes:.0f} minutes"
            )

    return tell


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def _figures(rank1: dict[int, float], mean_ap: dict[int, float]) -> str:
    return ", ".join(
        f"Res{depth} {100 * rank1[depth]:.1f} / {100 * mean_ap[depth]:.1f}" for depth in rank1
    )


@main.command()
@click.option("--out", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--student", default=2, help="Depth that is judged in Table 2.")
def show(out: Path, student: int) -> None:
    """Print both tables of what is there, in Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/cell.json"))]
    if not found:
        raise SystemExit(f"{out}: no cell is filled yet")
    one = found[0]
    height, width = one["size_px"]
    click.echo(
        f"{height}x{width} px, {one['crops']:,} crops, batches of "
        f"{one['batch'][0]}x{one['batch'][1]}, {'with' if one['flip'] else 'no'} flip, "
        f"{one['gpu'] or one['machine']}, commit {one['commit']}. Rank-1 / mAP.\n"
    )
    _show_table1([cell for cell in found if cell["table"] == 1])
    _show_table2([cell for cell in found if cell["table"] == 2], student)


def _show_table1(found: list[Filled]) -> None:
    by_name = {str(cell["name"]): cell for cell in found}
    if JOINT not in by_name:
        return
    joint = by_name[JOINT]
    click.echo(f"Table 1, {joint['epochs']} epochs, {joint['images_per_s']:.0f} images/s\n")
    click.echo("| | printed | all four exits in one run | this exit trained alone |")
    click.echo("|---|---|---|---|")
    for depth, (rank1, mean_ap) in PRINTED.items():
        alone = by_name.get(f"Res{depth} alone")
        click.echo(
            f"| Res{depth} | {rank1} / {mean_ap} | {_pair(joint, depth)} "
            f"| {_pair(alone, depth) if alone else ''} |"
        )
    click.echo("")


def _pair(cell: Filled, depth: int) -> str:
    rank1, mean_ap = (cell[name][str(depth)] for name in ("rank1", "map"))
    return f"{100 * rank1:.1f} / {100 * mean_ap:.1f}"


def _show_table2(found: list[Filled], student: int) -> None:
    rows: dict[str, list[Filled]] = {}
    for cell in found:
        rows.setdefault(str(cell["name"]), []).append(cell)
    if "baseline" not in rows:
        return
    click.echo(
        f"Table 2, {found[0]['epochs']} epochs, means of the seeds; ± half of the 95 % interval of "
        "the mAP's difference to the baseline, by a bootstrap over queries of the mean over the "
        "seeds that both have\n"
    )
    click.echo(f"| | seeds | Res{student} | mAP beside the baseline | Res4 |")
    click.echo("|---|---|---|---|---|")
    before = {cell["seed"]: _precisions(cell, student) for cell in rows["baseline"]}
    for name in (name for name in IDEAS if name in rows):
        its = rows[name]
        both = [cell for cell in its if cell["seed"] in before]
        difference = "" if name == "baseline" or not both else _difference(both, before, student)
        click.echo(
            f"| {name} | {len(its)} | {_mean(its, student)} | {difference} | {_mean(its, 4)} |"
        )


def _precisions(cell: Filled, depth: int) -> NDArray[np.float64]:
    return np.array(cell["precisions"][str(depth)])


def _mean(found: list[Filled], depth: int) -> str:
    means = [
        100 * float(np.mean([cell[kind][str(depth)] for cell in found]))
        for kind in ("rank1", "map")
    ]
    return f"{means[0]:.1f} / {means[1]:.1f}"


def _difference(
    found: list[Filled],
    before: dict[int, NDArray[np.float64]],
    depth: int,
) -> str:
    more = np.mean([_precisions(cell, depth) - before[cell["seed"]] for cell in found], axis=0)
    rng = np.random.default_rng(0)
    means = [more[rng.integers(0, len(more), len(more))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{100 * more.mean():+.1f} ± {50 * (high - low):.1f}"


if __name__ == "__main__":
    main()
