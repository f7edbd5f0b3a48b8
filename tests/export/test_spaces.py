"""Spaces: exits of one classifier share one, whatever their depth, precision or file."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from adln.export.spaces import name_space
from adln.model.checkpoint import load_network, save_network
from adln.model.network import ADLN


def test_a_space_is_named_by_the_bytes_of_the_classifier(network: ADLN) -> None:
    classifier = network.state_dict()["exits.2.classifier.weight"].tolist()
    numbers = np.array(classifier, dtype="<f4")
    assert name_space(network, 2) == hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def test_exits_with_classifiers_of_their_own_have_spaces_of_their_own(
    network: ADLN, other_network: ADLN
) -> None:
    names = {name_space(one, depth) for one in (network, other_network) for depth in (1, 2)}
    assert len(names) == 4


def test_one_classifier_is_one_space_also_after_cutting_and_loading(
    network: ADLN, tmp_path: Path
) -> None:
    shared = network.keep((1, 2))
    shared.share_classifier()
    save_network(tmp_path / "network.safetensors", shared, provenance={"data": "made-up people"})
    tied = load_network(tmp_path / "network.safetensors")
    name = name_space(tied, 1)
    assert name_space(tied, 2) == name_space(tied.cut(2), 2) == name
    with torch.no_grad():
        tied.get_parameter("exits.2.classifier.weight")[0, 0] += 1
    assert name_space(tied, 2) != name
