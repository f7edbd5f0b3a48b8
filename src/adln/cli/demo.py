"""`adln demo`: from drawn people to a report, in a few minutes on a small machine."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image

from adln.atomic import require_writable
from adln.cli import options
from adln.cli.embedders import open_trained
from adln.cli.progress import TrainingView, clock, counting
from adln.cli.report_files import write_report
from adln.errors import SettingsError
from adln.evaluation.protocol import evaluate
from adln.evaluation.report import make_report
from adln.scenes.synthetic import Plan, contact_sheet, draw_dataset, num_pictures
from adln.training.schedule import Schedule
from adln.training.stopping import stop_on_request

if TYPE_CHECKING:
    from adln.training.recipe import Recipe

TRAIN_PERSONS = 64
TEST_PERSONS = 40
PICTURE_NAME = "people.png"


@click.command()
@options.path(
    "--out",
    "folder",
    default="out/demo",
    show_default=True,
    help="Folder for people, network and report.",
)
@options.shown("--seed", default=0, help="Of people, weights and batches.")
@options.shown("--epochs", default=6, type=click.IntRange(1))
@options.device
def demo(folder: Path, seed: int, epochs: int, device: str) -> None:
    """Draw people, train briefly, evaluate the four depths, write a report.

    Needs no download. The network starts from random parameters and sees few people for a few
    minutes: it shows every step, not good accuracy. The same command resumes an interrupted run.
    """
    from adln.training.data import load_training_data
    from adln.training.loop import build_fabric, train

    require_writable(folder, raises=SettingsError, folder=True)
    begun = time.monotonic()
    watch = TrainingView(quiet=False)
    recipe = demo_recipe(seed=seed, epochs=epochs)
    plan = Plan(num_train_persons=TRAIN_PERSONS, num_test_persons=TEST_PERSONS, seed=seed)
    people = folder / "people"
    watch.say(f"1/4  draw {TRAIN_PERSONS + TEST_PERSONS} people under {plan.num_cameras} cameras")
    with counting(num_pictures(plan), "     drawing") as on_drawn:
        dataset = draw_dataset(people, plan, on_progress=on_drawn)
    Image.fromarray(contact_sheet(plan)).save(folder / PICTURE_NAME)

    watch.say(
        f"2/4  train all four exits on {len(dataset.train):,} crops of "
        f"{recipe.batch.height_px}x{recipe.batch.width_px} px, for {epochs} epochs"
    )
    fabric = build_fabric(recipe, device=device)
    data = load_training_data(
        dataset.train, height_px=recipe.batch.height_px, width_px=recipe.batch.width_px
    )
    with stop_on_request(None) as should_stop:
        outcome = train(
            recipe,
            data,
            folder / "run",
            fabric=fabric,
            provenance={"data": "drawn people", "licence": "Apache-2.0"},
            should_stop=should_stop,
            on_start=watch.on_start,
            on_progress=watch.on_progress,
        )
    watch.close()
    if not outcome.finished:
        watch.say(f"stopped: {outcome.reason}. The same command goes on.")
        return

    watch.say("3/4  evaluate the four depths on people that it has never seen")
    embedder, params, flops = open_trained(outcome.network_path, (), device=fabric.device)
    with counting(len(dataset.query) + len(dataset.gallery), "     embedding") as on_embedded:
        evaluation = evaluate(embedder, dataset.query, dataset.gallery, on_progress=on_embedded)

    watch.say("4/4  write the report")
    report = make_report(
        evaluation,
        dataset="drawn people",
        flip=embedder.flip,
        params=params,
        flops=flops,
        command=shlex.join(["adln", *sys.argv[1:]]),
        notes=[
            f"Trained from random parameters on {TRAIN_PERSONS} drawn people, {epochs} epochs at "
            f"{recipe.batch.height_px}x{recipe.batch.width_px} px: a demonstration, not a result."
        ],
    )
    page = write_report(folder / "report", report, evaluation)
    click.echo()
    click.echo(report.to_text())
    click.echo()
    click.echo(f"people:  {folder / PICTURE_NAME}")
    click.echo(f"report:  {page}")
    click.echo(f"network: {outcome.network_path}")
    click.echo(f"{clock(time.monotonic() - begun)} in all")


def demo_recipe(*, seed: int, epochs: int) -> "Recipe":
    """A recipe for minutes, not for accuracy: quarter-size crops, random parameters, few epochs."""
    from adln.training.augmentation import Augmentation
    from adln.training.recipe import Batch, NetworkSettings, Recipe

    return Recipe(
        seed=seed,
        network=NetworkSettings(imagenet="", imagenet_sha256=""),
        batch=Batch(persons=8, crops=4, height_px=64, width_px=32),
        augmentation=Augmentation(padding_px=3, erase_probability=0.2),
        schedule=Schedule(
            epochs=epochs,
            base_lr=1e-3,
            warmup_epochs=1,
            milestones=(epochs - max(epochs // 4, 1),),
        ),
    )
