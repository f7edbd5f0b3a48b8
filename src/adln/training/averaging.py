"""Averages of weights: of the steps of one training, and of networks from several.

Not part of the paper. An average over the last steps is usually a better network than the last one.
The average of two networks, one trained further from the other, often knows people of other
places better than both.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI
    2018; Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adln.datasets.loading import iterate_crops
from adln.errors import TrainingError
from adln.model.network import ADLN

_TOGETHER = 64  # crops of a batch; what is left over joins none
_FEWEST = 2  # a variance needs two


def averaged_copy(network: ADLN, decay: float) -> AveragedModel:
    """A copy of a network that tracks it as an exponential moving average.

    Call `update_parameters(network)` after each step; the first update copies. `decay` is the share
    of the average kept in each step, e.g. 0.999 for about the last 1,000 steps. Batch norm
    statistics are averaged like weights.
    """
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False)


def averaged_network(average: AveragedModel) -> ADLN:
    """Extract the averaged network."""
    network = average.module
    assert isinstance(network, ADLN)
    return network


def average_networks(networks: Sequence[ADLN]) -> ADLN:
    """The network whose weights are the mean of those of several, which stay as they are.

    They must come from one another, or from the same one: weights of networks that were trained
    separately have no mean that works. They may have been trained on other persons; the classifiers
    are those of the last one. Statistics of batch norms are averaged like weights, which is best
    where the networks differ little; otherwise, see `estimate_statistics`.

    Raises:
        TrainingError: their architectures differ.
    """
    last = networks[-1]
    for network in networks[:-1]:
        form = asdict(replace(network.architecture, num_classes=last.architecture.num_classes))
        wrong = [
            f"{name}: {form[name]!r} and {value!r}"
            for name, value in asdict(last.architecture).items()
            if form[name] != value
        ]
        if wrong:
            raise TrainingError(
                f"only networks of the same architecture can be averaged; {'; '.join(wrong)}"
            )
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if value.is_floating_point() and not name.endswith("classifier.weight")
        else value
        for name, value in states[-1].items()
    }
    return last.rebuilt(last.architecture, mean)


@torch.no_grad()
def estimate_statistics(
    network: ADLN, paths: Sequence[Path], *, on_progress: Callable[[int], None] = lambda _: None
) -> None:
    """Estimate the statistics of all batch norms anew, in place, on pictures of many people.

    They should show people like those of the training, at least a thousand; they are taken in a
    random order that is always the same, half of them mirrored. `on_progress` gets the number of
    crops of each batch. The network ends in evaluation mode.

    Raises:
        TrainingError: there are fewer than two pictures.
        ImageError: a picture cannot be read.
    """
    if len(paths) < _FEWEST:
        raise TrainingError(
            f"the statistics of batch norms need at least {_FEWEST} pictures, got {len(paths)}"
        )
    norms = [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    rng = random.Random(0)
    mixed = rng.sample(paths, len(paths))
    form = network.architecture
    network.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        for pixels in iterate_crops(
            mixed, batch_size=_TOGETHER, height_px=form.height_px, width_px=form.width_px
        ):
            if len(pixels) >= min(_TOGETHER, len(mixed)):
                crops = torch.from_numpy(pixels).permute(0, 3, 1, 2)
                network(crops.flip(3) if rng.random() < 0.5 else crops)
            on_progress(len(pixels))
    finally:
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        network.eval()
