"""`adln complexity`: Table 1's columns Params and Flops."""

import click

from adln.cli import options
from adln.cli.progress import print_json

PAPER_PARAMS_M = {1: 0.48, 2: 1.92, 3: 9.40, 4: 23.51}
PAPER_FLOPS_G = {1: 0.58, 2: 1.28, 3: 2.26, 4: 4.08}


@click.command()
@options.flag("--no-attention", help="Leave dimension interaction attention out.")
@options.as_json
def complexity(no_attention: bool, as_json: bool) -> None:
    """Count parameters and operations of Res1 to Res4, as Table 1 of the paper does."""
    from adln.model.complexity import count_depth
    from adln.model.network import DEPTHS, Architecture

    architecture = Architecture(num_classes=1, attention=not no_attention)
    counts = {depth: count_depth(depth, architecture) for depth in DEPTHS}
    if as_json:
        rows = {
            f"Res{depth}": {**vars(counted), "flops": counted.flops}
            for depth, counted in counts.items()
        }
        print_json(rows)
        return
    click.echo("        Params      paper   Conv MACs      FLOPs     paper")
    for depth, counted in counts.items():
        click.echo(
            f"Res{depth}  {counted.params:>10,}  {PAPER_PARAMS_M[depth]:>5.2f} M"
            f"  {counted.conv_macs / 1e9:>8.4f} G  {counted.flops / 1e9:>7.4f} G"
            f"  {PAPER_FLOPS_G[depth]:>4.2f} G"
        )
    click.echo(
        "\nFor one crop of 256x128 px. Params without BNNeck (4,096) and classifier."
        "\nFLOPs as the paper counts: multiply-accumulates, 2 per batch norm element, pooling."
    )
