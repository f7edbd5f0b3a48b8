"""One network, four exits; cutting gives bit for bit the same answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adln.errors import CheckpointError
from adln.model.exits import Exit, ExitOutput
from adln.model.network import ADLN, Architecture, build_network

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "bnneck_flip.npz")


@pytest.fixture(scope="module")
def network() -> ADLN:
    """A whole network whose batch norms hold statistics of their own."""
    whole = build_network(Architecture(num_classes=5), seed=1)
    generator = torch.Generator().manual_seed(2)
    whole.train()
    with torch.no_grad():
        for _ in range(2):
            whole(torch.randint(0, 256, (4, 3, 64, 32), generator=generator, dtype=torch.uint8))
    return whole.eval()


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, 3, 256, 128), generator=generator, dtype=torch.uint8)


def test_every_exit_answers_with_the_same_shapes(network: ADLN, crops: torch.Tensor) -> None:
    with torch.inference_mode():
        output = network(crops)
    assert list(output.exits) == [1, 2, 3, 4]
    for answer in output.exits.values():
        assert answer.feature_map.shape == (2, 2048, 16, 8)
        assert answer.feature.shape == answer.embedding.shape == (2, 2048)
        assert answer.logits.shape == (2, 5)
        assert (answer.feature_map >= 0).all()
    assert output.deepest is output.exits[4]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_cut_gives_bit_for_bit_the_answers_of_its_exit(
    network: ADLN, crops: torch.Tensor, depth: int
) -> None:
    part = network.cut(depth)
    with torch.inference_mode():
        whole_answer = network(crops).exits[depth]
        part_output = part(crops)
    assert list(part_output.exits) == [depth]
    for field in ("feature_map", "feature", "embedding", "logits"):
        assert torch.equal(getattr(part_output.exits[depth], field), getattr(whole_answer, field))


def test_cut_keeps_only_what_its_depth_needs(network: ADLN) -> None:
    names = set(network.cut(2).state_dict())
    assert not [n for n in names if n.startswith(("stages.3", "stages.4", "attention"))]
    assert {n.split(".")[1] for n in names if n.startswith("exits")} == {"2"}
    assert not network.cut(3).attention


def test_exits_that_answer_together_give_the_sum_of_their_unit_embeddings(
    network: ADLN, crops: torch.Tensor
) -> None:
    together = ADLN(replace(network.architecture, summed_exits=(2, 3, 4))).eval()
    together.load_state_dict(network.state_dict())
    with torch.inference_mode():
        alone, output = network(crops), together(crops)
        own = {d: F.normalize(answer.embedding) for d, answer in alone.exits.items()}
        expected = {2: own[2], 3: own[2] + own[3], 4: own[2] + own[3] + own[4]}
        assert torch.equal(output.exits[1].embedding, alone.exits[1].embedding)
        for depth, embedding in expected.items():
            torch.testing.assert_close(output.exits[depth].embedding, embedding)
            part = together.cut(depth)
            assert list(part(crops).exits) == [depth]
            assert torch.equal(part(crops).exits[depth].embedding, output.exits[depth].embedding)
    assert together.cut(1).architecture.summed_exits == ()
    assert together.cut(3).architecture.built_exits == (2, 3)
    assert not {"exits.1.bnneck.weight", "exits.4.bnneck.weight"} & set(
        together.cut(3).state_dict()
    )


@pytest.mark.parametrize(
    ("exits", "summed"), [((1, 2), (2, 3)), ((1, 2), (2, 1)), ((1, 2, 3), (1, 3)), ((4,), (0, 4))]
)
def test_exits_that_cannot_answer_together_are_refused(
    exits: tuple[int, ...], summed: tuple[int, ...]
) -> None:
    with pytest.raises(CheckpointError, match="summed_exits"):
        Architecture(num_classes=5, exits=exits, summed_exits=summed)


def test_cut_copies_the_weights(network: ADLN) -> None:
    part = network.cut(1)
    before = network.stem.conv1.weight.clone()
    with torch.no_grad():
        part.stem.conv1.weight.zero_()
    assert torch.equal(network.stem.conv1.weight, before)
    assert not part.exits["1"].bnneck.bias.requires_grad
    assert part.stem.conv1.weight.requires_grad


def test_cut_of_an_exit_that_is_not_there_says_which_there_are(network: ADLN) -> None:
    with pytest.raises(CheckpointError, match=r"cannot cut at depth \[3\].*\[2\]"):
        network.cut(2).cut(3)


def test_uint8_and_float_pixels_give_the_same_answers(network: ADLN, crops: torch.Tensor) -> None:
    part = network.cut(1)
    with torch.inference_mode():
        same = torch.equal(part(crops).exits[1].embedding, part(crops.float()).exits[1].embedding)
    assert same


def test_pixels_are_normalised_inside() -> None:
    mean, std = ADLN.pixel_statistics()
    pixel = torch.tensor([255.0, 0.0, 127.5]).reshape(1, 3, 1, 1)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.5 - 0.406) / 0.225]
    assert ((pixel - mean) / std).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_attention_stands_after_stages_3_and_4_and_can_be_left_out() -> None:
    with torch.device("meta"):
        assert list(ADLN(Architecture(num_classes=2)).attention) == ["3", "4"]
        assert not ADLN(Architecture(num_classes=2, attention=False)).attention


def test_seed_alone_decides_the_random_weights() -> None:
    architecture = Architecture(num_classes=3, exits=(1,))
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first = build_network(architecture, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(8)
    second = build_network(architecture, seed=5)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_row_weights_weight_each_row_of_each_channel_and_start_as_the_plain_mean(
    network: ADLN, crops: torch.Tensor
) -> None:
    weighted = ADLN(replace(network.architecture, row_weights=True)).eval()
    assert weighted.load_state_dict(network.state_dict(), strict=False).missing_keys == [
        f"exits.{depth}.row_weights" for depth in (1, 2, 3, 4)
    ]
    with torch.inference_mode():
        plain, same = network(crops).exits[1], weighted(crops).exits[1]
    torch.testing.assert_close(same.embedding, plain.embedding, rtol=1e-4, atol=1e-5)
    weights = torch.rand(2048, 16)
    with torch.no_grad():
        weighted.exits["1"].row_weights.copy_(weights)
    with torch.inference_mode():
        answer = weighted(crops).exits[1]
        low = weighted(crops[:, :, :128]).exits[1]  # 8 rows take the weights between
    expected = torch.einsum("bchw,ch->bc", answer.feature_map, weights) / (16 * 8)
    torch.testing.assert_close(answer.feature, expected, rtol=1e-4, atol=1e-5)
    between = (weights[:, 0::2] + weights[:, 1::2]) / 2
    expected = torch.einsum("bchw,ch->bc", low.feature_map, between) / (8 * 8)
    torch.testing.assert_close(low.feature, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exits", [(), (2, 1), (1, 1), (5,)])
def test_impossible_exits_are_refused(exits: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="exits must"):
        Architecture(num_classes=2, exits=exits)


def bnneck_exit() -> Exit:
    """An exit of 16 channels in float64 that carries the golden BNNeck and classifier."""
    exit_ = Exit(4, 5, 1e-5).double()
    exit_.bnneck = torch.nn.BatchNorm1d(16).double()
    exit_.classifier = torch.nn.Linear(16, 5, bias=False).double()
    with torch.no_grad():
        exit_.bnneck.weight.copy_(torch.from_numpy(GOLDEN["bn_weight"]))
        exit_.bnneck.running_mean.copy_(torch.from_numpy(GOLDEN["bn_running_mean"]))
        exit_.bnneck.running_var.copy_(torch.from_numpy(GOLDEN["bn_running_var"]))
        exit_.classifier.weight.copy_(torch.from_numpy(GOLDEN["cls_weight"]))
    return exit_


def answer(exit_: Exit, feature: np.ndarray) -> ExitOutput:
    result = exit_(torch.from_numpy(feature)[:, :, None, None])
    assert isinstance(result, ExitOutput)
    return result


def test_bnneck_is_the_official_one_in_evaluation() -> None:
    exit_ = bnneck_exit().eval()
    for source, target in (("gap_feat", "bn_eval"), ("gap_feat_flip", "bn_eval_flip")):
        got = answer(exit_, GOLDEN[source]).embedding.detach().numpy()
        np.testing.assert_allclose(got, GOLDEN[target], rtol=1e-9)


def test_bnneck_and_classifier_are_the_official_ones_in_training() -> None:
    exit_ = bnneck_exit().train()
    got = answer(exit_, GOLDEN["gap_feat"])
    np.testing.assert_allclose(got.embedding.detach().numpy(), GOLDEN["bn_train"], rtol=1e-9)
    np.testing.assert_allclose(got.logits.detach().numpy(), GOLDEN["logits_train"], rtol=1e-9)
    np.testing.assert_allclose(exit_.bnneck.running_mean.numpy(), GOLDEN["rm_after"], rtol=1e-9)
    np.testing.assert_allclose(exit_.bnneck.running_var.numpy(), GOLDEN["rv_after"], rtol=1e-9)
