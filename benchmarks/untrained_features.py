"""Evaluates the features that a recipe starts from, before any training: the floor of a result.

python -m benchmarks.untrained_features --recipe RECIPE --imagenet WEIGHTS --data DATA
"""

from pathlib import Path

import click

from adln.datasets.catalogue import open_dataset
from adln.evaluation.protocol import evaluate
from adln.evaluation.report import make_report
from adln.model.embedder import TorchEmbedder
from adln.model.imagenet import load_imagenet
from adln.model.network import build_network
from adln.settings import read_settings
from adln.training.recipe import Recipe


@click.command()
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path))
@click.option("--imagenet", required=True, help="ResNet-50 weights, a path.")
@click.option("--data", "data_path", required=True, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, help="As in adln train.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16.")
def main(
    recipe_path: Path | None,
    imagenet: str,
    data_path: Path,
    overrides: tuple[str, ...],
    bf16: bool,
) -> None:
    """Print Table 1 for the network before its first step."""
    recipe = read_settings(Recipe, recipe_path, overrides)
    dataset = open_dataset(data_path)
    network = build_network(recipe.architecture(num_classes=1), seed=recipe.seed)
    click.echo(load_imagenet(network, imagenet).summary())
    embedder = TorchEmbedder(network, device="cpu", bf16=bf16)
    evaluation = evaluate(embedder, dataset.query, dataset.gallery)
    click.echo(make_report(evaluation, dataset=dataset.name, flip=True).to_text())


if __name__ == "__main__":
    main()
