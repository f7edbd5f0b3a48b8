"""The last layer moves to where the teacher is, no further than held-out tracks bear out."""

import numpy as np
import pytest
import torch
from tests.site.conftest import DIM, HEIGHT, SPACE, WIDTH, draw_crop, draw_person
from torch import Tensor
from torch.nn import functional as F

from adln.losses.objective import ObjectiveWeights
from adln.model.network import ADLN, Architecture, build_network
from adln.site.refitting import refit

WEIGHTS = ObjectiveWeights(imitation=10.0, relation=30.0)
TRACKS = np.repeat(np.arange(40), 2)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """Two crops of each of 40 people, (80, 3, H, W)."""
    rng = np.random.default_rng(0)
    people = [draw_person(rng) for _ in range(40)]
    drawn = [np.asarray(draw_crop(person, rng)) for person in people for _ in range(2)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def build(embedding_dim: int = DIM) -> ADLN:
    form = Architecture(
        num_classes=1,
        exits=(1,),
        embedding_dim=embedding_dim,
        height_px=HEIGHT,
        width_px=WIDTH,
        space=SPACE,
    )
    return build_network(form, seed=0).eval()


@torch.no_grad()
def embed(network: ADLN, crops: Tensor) -> Tensor:
    return F.normalize(network(crops).exits[1].embedding)


def layer(network: ADLN) -> Tensor:
    return network.get_parameter("exits.1.projection.weight")


def move_away(network: ADLN) -> None:
    noise = torch.randn(layer(network).shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        layer(network).add_(noise * layer(network).std())


def test_the_layer_comes_back_to_the_teacher_and_nothing_else_moves(crops: Tensor) -> None:
    network = build()
    taught = embed(network, crops)
    move_away(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lost = 1 - (embed(network, crops) * taught).sum(1).mean()
    assert refit(network, 1, crops.split(16), taught, TRACKS, weights=WEIGHTS) is not None
    left = 1 - (embed(network, crops) * taught).sum(1).mean()
    assert left < 0.2 * lost
    changed = [n for n, value in network.state_dict().items() if not torch.equal(value, before[n])]
    assert changed == ["exits.1.projection.weight"]


def test_a_layer_stays_where_held_out_tracks_gain_nothing(crops: Tensor) -> None:
    network = build()
    right = embed(network, crops)
    before = layer(network).clone()
    # A teacher that is right of the tracks that judge, and talks at random of the others.
    judges = torch.from_numpy(TRACKS % 5 == 0)[:, None]
    chance = F.normalize(torch.randn(right.shape, generator=torch.Generator().manual_seed(2)))
    taught = torch.where(judges, right, chance)
    assert refit(network, 1, crops.split(16), taught, TRACKS, weights=WEIGHTS) is None
    assert torch.equal(layer(network), before)


def test_few_tracks_and_networks_without_such_a_layer_are_left_alone(crops: Tensor) -> None:
    network = build()
    taught = embed(network, crops)
    move_away(network)
    before = layer(network).clone()
    few = np.zeros(len(crops), np.int64)
    assert refit(network, 1, crops.split(16), taught, few, weights=WEIGHTS) is None
    assert torch.equal(layer(network), before)
    whole = build(embedding_dim=2048)
    taught = embed(whole, crops)
    assert refit(whole, 1, crops.split(16), taught, TRACKS, weights=WEIGHTS) is None
