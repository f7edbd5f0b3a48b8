r"""Times the training loop against the machine's own limits, and against torchreid's loop.

    python -m benchmarks.training_speed --data data/Market-1501-v15.09.15 \
        --recipe recipes/market1501.toml --steps 60 [--torchreid ~/deep-person-reid]

Three or four figures in images a second, at the same batch, crop size and precision:

- adln: the real loop on the real pictures, augmentation and logging included;
- plain: forward and backward of ResNet-50 with one classifier, SGD, on one batch that already lies
  on the device: what a loop that costs nothing would reach with one exit;
- peak: the operations that adln's step needs, at the rate of a square matrix product: what the
  machine could do if convolutions were such products;
- torchreid: its own loader (with as many workers as cores), engine and ResNet-50 (triplet and
  cross-entropy, float32), from a checkout that is not part of this project. It needs torchvision,
  scipy and OpenCV.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from adln.datasets.catalogue import open_dataset
from adln.model.backbone import STAGE_CHANNELS, Stem, build_stage
from adln.model.complexity import count
from adln.model.network import build_network
from adln.settings import read_settings
from adln.training.data import TrainingData, load_training_data
from adln.training.loop import Progress, build_fabric, train
from adln.training.recipe import Recipe

MATRIX_SIZE = {"cuda": 8192, "cpu": 2048}
# A backward pass is two products for each of the forward pass.
FORWARD_AND_BACKWARD = 3
OPERATIONS_PER_MAC = 2


@click.command()
@click.option("--data", "data_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--recipe", "recipe_path", type=click.Path(exists=True, path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE")
@click.option("--steps", default=60, show_default=True, type=click.IntRange(20))
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@click.option("--torchreid", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(
    data_path: Path,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    steps: int,
    device: str | None,
    torchreid: Path | None,
) -> None:
    """Time the training loop against the machine's own limits."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    recipe = read_settings(Recipe, recipe_path, list(overrides))
    # Chance starts the weights; speed does not depend on them.
    recipe = replace(recipe, network=replace(recipe.network, imagenet=""))
    batch = recipe.batch
    click.echo(f"machine: {machine(device)}; torch {torch.__version__}, {recipe.precision}")
    click.echo(
        f"batch {batch.persons} x {batch.crops} crops of {batch.height_px}x{batch.width_px} px, "
        f"exits {list(recipe.network.exits)}"
    )
    dataset = open_dataset(data_path)
    data = load_training_data(dataset.train, height_px=batch.height_px, width_px=batch.width_px)

    ours = time_adln(recipe, data, steps=steps, device=device)
    plain = time_plain(recipe, data.num_classes, steps=steps, device=device)
    rate = matrix_rate(recipe, device)
    macs = work_per_image(recipe, data.num_classes)
    peak = rate / (OPERATIONS_PER_MAC * FORWARD_AND_BACKWARD * macs)
    click.echo(f"adln       {ours:9.1f} images/s")
    click.echo(f"plain      {plain:9.1f} images/s   adln reaches {ours / plain:.0%} of it")
    click.echo(
        f"peak       {peak:9.1f} images/s   adln reaches {ours / peak:.0%} of it "
        f"({rate / 1e12:.2f} T operations/s in a matrix product)"
    )
    if torchreid is not None:
        theirs = time_torchreid(torchreid, data_path, recipe, steps=steps, device=device)
        click.echo(f"torchreid  {theirs:9.1f} images/s   adln is {ours / theirs:.1f} times as fast")
    seconds = len(data.labels) * recipe.schedule.epochs / ours
    click.echo(f"{recipe.schedule.epochs} epochs at this speed: {seconds / 60:.0f} minutes")


def time_adln(recipe: Recipe, data: TrainingData, *, steps: int, device: str) -> float:
    """Images a second of the real loop; the first steps, which set everything up, do not count."""
    speeds: list[float] = []
    left = steps

    def enough() -> str | None:
        nonlocal left
        left -= 1
        return "enough" if left <= 0 else None

    def note(progress: Progress) -> None:
        speeds.append(progress.images_per_s)

    with tempfile.TemporaryDirectory() as folder:
        train(
            recipe,
            data,
            Path(folder),
            fabric=build_fabric(recipe, device=device),
            should_stop=enough,
            on_progress=note,
        )
    return statistics.median(speeds[1:])


def time_plain(recipe: Recipe, num_classes: int, *, steps: int, device: str) -> float:
    """Images a second of ResNet-50 alone, forward and backward."""
    chosen = recipe.network
    network = nn.Sequential(
        Stem(chosen.bn_eps),
        *(build_stage(number, chosen.stride_position, chosen.bn_eps) for number in (1, 2, 3, 4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(STAGE_CHANNELS[-1], num_classes),
    )
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    batch = recipe.batch
    size = batch.persons * batch.crops
    crops = torch.rand(size, 3, batch.height_px, batch.width_px, device=device)
    crops = crops.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(num_classes, (size,), device=device)
    half = recipe.precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            logits: Tensor = network(crops)
        functional.cross_entropy(logits.float(), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return size / seconds_each(step, steps // 2, device)


def matrix_rate(recipe: Recipe, device: str) -> float:
    """Operations a second of a square matrix product in the recipe's precision."""
    dtype = torch.bfloat16 if recipe.precision == "bf16-mixed" else torch.float32
    size = MATRIX_SIZE[device]
    a = torch.rand(size, size, device=device).to(dtype)
    return OPERATIONS_PER_MAC * size**3 / seconds_each(lambda: a @ a, 10, device)


def work_per_image(recipe: Recipe, num_classes: int) -> float:
    """Multiply-accumulates of one forward pass through all exits of the recipe."""
    return float(count(build_network(recipe.architecture(num_classes), seed=0)).conv_macs)


def time_torchreid(
    root: Path, data_path: Path, recipe: Recipe, *, steps: int, device: str
) -> float:
    """Images a second of torchreid's loader and engine."""
    sys.path.insert(0, str(root))
    # Imported there only to download data sets; nothing is downloaded here.
    sys.modules.setdefault("gdown", types.ModuleType("gdown"))
    import torchreid  # type: ignore[import-not-found]

    batch = recipe.batch
    size = batch.persons * batch.crops
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "market1501"
        place.mkdir()
        (place / data_path.name).symlink_to(data_path.resolve(), target_is_directory=True)
        manager = torchreid.data.ImageDataManager(
            root=folder,
            sources="market1501",
            height=batch.height_px,
            width=batch.width_px,
            batch_size_train=size,
            train_sampler="RandomIdentitySampler",
            num_instances=batch.crops,
            transforms=["random_flip", "random_crop", "random_erase"],
            workers=os.cpu_count() or 1,
            use_gpu=device == "cuda",
        )
        model = torchreid.models.build_model(
            "resnet50", manager.num_train_pids, loss="triplet", pretrained=False
        ).to(device)
        optimiser = torchreid.optim.build_optimizer(model, optim="adam", lr=4e-4)
        engine: Any = torchreid.engine.ImageTripletEngine(
            manager, model, optimiser, use_gpu=device == "cuda"
        )
        model.train()
        begun, done = 0.0, 0
        for at, batch_of_pictures in enumerate(engine.train_loader):
            engine.forward_backward(batch_of_pictures)
            done = at
            if at == steps // 3:  # its workers have started
                begun = time.perf_counter()
            if at == steps:
                break
    return (done - steps // 3) * size / (time.perf_counter() - begun)


def seconds_each(work: Callable[[], object], times: int, device: str) -> float:
    """Median seconds of a piece of work, after one run that does not count."""
    work()
    seconds = []
    for _ in range(max(times, 3)):
        if device == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def machine(device: str) -> str:
    """What computes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
