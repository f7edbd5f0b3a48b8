"""`adln train`: the recipe of the paper, or one of your own."""

import json
import logging
from pathlib import Path

import click

from adln.atomic import is_there, require_writable
from adln.cli import options
from adln.cli.progress import TrainingView, counting, print_json
from adln.datasets.catalogue import names_of_pictures, open_datasets
from adln.datasets.listing import pictures_below
from adln.errors import TrainingError
from adln.evaluation.unseen import NOT_STATED
from adln.settings import read_settings
from adln.training.stopping import stop_on_request


@click.command()
@options.path(
    "--data",
    "data_paths",
    required=True,
    multiple=True,
    help="Folder or CSV of a data set. May be repeated: persons and cameras are kept separate.",
)
@options.layout
@options.path(
    "--unlabelled",
    "unlabelled_folders",
    multiple=True,
    help="Folder with pictures of people without a name, to imitate a teacher on. May be repeated.",
)
@options.path(
    "--recipe",
    "recipe_path",
    help="TOML file; settings that it leaves out have the paper's values.",
)
@options.path(
    "--out",
    "folder",
    required=True,
    help="Folder of the run. A run that was interrupted there is resumed.",
)
@click.option(
    "--imagenet",
    help="ResNet-50 weights to start from: a path, an https URL, or none.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, e.g. --set schedule.epochs=3. May be repeated.",
)
@click.option(
    "--stop-after",
    "stop_after_s",
    type=options.duration,
    metavar="TIME",
    help="Store the state and stop after this time, e.g. 540s. The same command resumes.",
)
@options.device
@options.flag("--json", "as_json", help="Print the outcome as JSON for a program.")
def train(
    data_paths: tuple[Path, ...],
    layout: str,
    unlabelled_folders: tuple[Path, ...],
    recipe_path: Path | None,
    folder: Path,
    imagenet: str | None,
    overrides: tuple[str, ...],
    stop_after_s: float | None,
    device: str,
    as_json: bool,
) -> None:
    """Train the network with its four exits.

    It can be interrupted at any time (Ctrl-C, SIGTERM, --stop-after): the state is stored, and the
    same command resumes and ends with the same weights. Under torchrun it uses all processes.
    """
    from adln.model import bfloat16
    from adln.model.checkpoint import joined_data, stated_data
    from adln.training.data import join_splits, load_training_data
    from adln.training.loop import build_fabric
    from adln.training.loop import train as run
    from adln.training.recipe import Recipe

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if imagenet is not None:
        path = "" if imagenet == "none" else imagenet
        overrides = (*overrides, f"network.imagenet={json.dumps(path)}")
        if "://" not in path:
            # A path that the user names needs no digest; one in the recipe is for the URL.
            overrides = (*overrides, 'network.imagenet_sha256=""')
    recipe = read_settings(Recipe, recipe_path, overrides)
    require_writable(folder, raises=TrainingError, folder=True)
    datasets = open_datasets(data_paths, layout)
    split = join_splits([dataset.train for dataset in datasets])
    unlabelled = [path for place in unlabelled_folders for path in pictures_below(place)]
    started_from = ""
    if start := recipe.network.start_from:
        # A run that is resumed no longer needs the file.
        started_from = stated_data(Path(start)) if is_there(Path(start)) else NOT_STATED
    fabric = build_fabric(recipe, device=device)
    fabric.launch()
    watch = TrainingView(quiet=as_json or not fabric.is_global_zero)
    if recipe.precision == "bf16-mixed" and not bfloat16.saves_time(device):
        watch.say(bfloat16.NOTICE)
    for dataset in datasets:
        watch.say(dataset.notice)
        watch.say(dataset.left_out)
    with stop_on_request(stop_after_s) as should_stop:
        count = len(split) + len(unlabelled)
        with counting(count, "reading crops", quiet=watch.quiet) as on_read:
            data = load_training_data(
                split,
                height_px=recipe.batch.stored_size_px[0],
                width_px=recipe.batch.stored_size_px[1],
                teacher=Path(recipe.teacher) if recipe.teacher else None,
                unlabelled=unlabelled,
                on_progress=on_read,
            )
        watch.say(f"{data.crops.shape[0]:,} crops of {data.num_classes:,} persons")
        outcome = run(
            recipe,
            data,
            folder,
            fabric=fabric,
            provenance={
                "data": joined_data(
                    started_from,
                    *(dataset.name for dataset in datasets),
                    *names_of_pictures(unlabelled),
                )
            },
            should_stop=should_stop,
            on_start=watch.on_start,
            on_progress=watch.on_progress,
        )
    watch.close()
    if as_json and fabric.is_global_zero:
        result = {
            "finished": outcome.finished,
            "reason": outcome.reason,
            "network": str(outcome.network_path) if outcome.finished else None,
            "epoch": outcome.position.epoch,
            "step": outcome.position.step,
        }
        print_json(result, indent=None)
    elif outcome.finished:
        watch.say(f"done: {outcome.network_path}")
        watch.say(f"next: adln evaluate {outcome.network_path} --data {data_paths[0]}")
    else:
        watch.say(
            f"stopped in epoch {outcome.position.epoch} after step {outcome.position.step}: "
            f"{outcome.reason}. The same command goes on."
        )
