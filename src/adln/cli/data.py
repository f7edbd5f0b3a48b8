"""`adln data`: check a data set of Sec. III.A, or draw one."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from adln.atomic import require_writable
from adln.cli import options
from adln.cli.progress import counting, print_json
from adln.datasets.catalogue import open_dataset
from adln.datasets.checking import DatasetReport, find_corrupt, inspect_dataset
from adln.errors import DatasetError
from adln.scenes.synthetic import Plan, draw_dataset, num_pictures
from adln.scenes.walking_scene import CAMERA_IDS, ScenePlan, write_scene


@click.group()
def data() -> None:
    """Check a data set, or draw people to try things out with."""


@data.command()
@options.path_argument("path")
@options.layout
@options.flag("--decode", help="Decode every picture, to find damaged ones.")
@options.shown("--workers", type=click.IntRange(1), default=2, help="Threads that decode.")
@options.flag("--json", "as_json", help="Print one JSON object for programs.")
def check(path: Path, layout: str, decode: bool, workers: int, as_json: bool) -> None:
    """Check the data set at PATH: count pictures, persons, cameras; say what is wrong.

    PATH is the folder of a data set, the folder above it, or a CSV table. The exit code is 0 if
    all is fine and 1 if there are problems.
    """
    try:
        dataset = open_dataset(path, layout)
    except DatasetError as error:
        if as_json:
            print_json({"is_fine": False, "problems": [str(error)]})
        else:
            click.echo(f"This data set cannot be opened.\n\n{error}")
        sys.exit(1)
    corrupt = None
    if decode:
        # A picture may be both query and gallery; junk is never opened by anyone.
        paths = list(dict.fromkeys(path for split in dataset.splits for path in split.paths))
        with counting(len(paths), "Decoding") as on_progress:
            corrupt = find_corrupt(paths, workers=workers, on_progress=on_progress)
    report = inspect_dataset(dataset, corrupt=corrupt)
    if as_json:
        facts = {**asdict(report), "root": str(report.root), "notice": dataset.notice}
        print_json({"is_fine": report.is_fine, **facts})
    else:
        click.echo(_as_text(report, dataset.notice))
    sys.exit(0 if report.is_fine else 1)


@data.command()
@options.path_argument("out")
@options.shown("--persons", type=click.IntRange(4), default=80, help="How many people to draw.")
@options.shown("--seed", default=0, help="Another seed draws other people.")
def draw(out: Path, persons: int, seed: int) -> None:
    """Draw made-up people into the folder OUT, laid out like Market-1501."""
    require_writable(out, raises=DatasetError, folder=True)
    # More persons to learn from than to search for, as in the demo.
    num_test_persons = max(2, persons * 2 // 5)
    plan = Plan(
        num_train_persons=persons - num_test_persons, num_test_persons=num_test_persons, seed=seed
    )
    with counting(num_pictures(plan), "Drawing") as on_progress:
        drawn = draw_dataset(out, plan, on_progress=on_progress)
    counts = ", ".join(f"{split.name} {len(split):,}" for split in drawn.splits)
    click.echo(f"Drawn in {drawn.root}: {counts} images. Check it: adln data check {out}")


@data.command("draw-scene")
@options.path_argument("out")
@options.shown("--persons", type=click.IntRange(0), default=24, help="How many people come and go.")
@options.shown(
    "--crowd",
    type=click.IntRange(0),
    default=0,
    help="How many more gather in the square in the middle third.",
)
@options.shown("--seconds", type=float, default=60.0, help="Length of the scene.")
@options.shown("--fps", type=float, default=10.0, help="Pictures a second.")
@options.shown("--seed", default=0, help="Another seed draws other people.")
def draw_scene(out: Path, persons: int, crowd: int, seconds: float, fps: float, seed: int) -> None:
    """Draw people who walk past three cameras into the folder OUT, with the ground truth.

    There is a folder of pictures for each camera, and truth.jsonl says who is where in each.
    """
    require_writable(out, raises=DatasetError, folder=True)
    plan = ScenePlan(
        num_persons=persons, crowd=crowd, duration_s=seconds, frames_per_s=fps, seed=seed
    )
    with counting(plan.num_frames * len(CAMERA_IDS), "Drawing") as on_progress:
        write_scene(out, plan, on_progress=on_progress)
    click.echo(
        f"Drawn in {out}: {len(CAMERA_IDS)} cameras with {plan.num_frames:,} pictures each, "
        "and truth.jsonl. Cameras 1 and 2 see the same square, camera 3 a hall further on."
    )


def _as_text(report: DatasetReport, notice: str) -> str:
    lines = [f"{report.name}: {report.root}", ""]
    if notice:
        lines += [f"NOTICE: {notice}", ""]
    lines.append(f"{'split':<10}{'images':>9}{'persons':>9}{'cameras':>9}")
    lines += [
        f"{split.name:<10}{split.images:>9,}{split.persons:>9,}{split.cameras:>9,}"
        for split in report.splits
    ]
    lines += ["", "Good to know:", *(f"- {remark}" for remark in report.remarks)]
    if report.is_fine:
        return "\n".join([*lines, "", "No problems found."])
    problems = (f"{number}. {text}" for number, text in enumerate(report.problems, start=1))
    return "\n".join([*lines, "", f"Problems found: {len(report.problems)}", *problems])
