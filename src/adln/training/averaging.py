"""A moving average of the weights, usually a better network than the last step's.

Not part of the paper: one of the improved recipes.
"""

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adln.model.network import ADLN


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
