"""Table 1: Params and Flops, exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adln.model.complexity import count_depth
from adln.model.network import Architecture

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "complexity.npz")
ROWS = {1: "Res1", 2: "Res2", 3: "Res3", 4: "Res4_2dia"}


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_counts_are_those_of_the_official_counter(depth: int) -> None:
    params, conv_macs, batch_norm_elements, flops = GOLDEN[ROWS[depth]].tolist()
    counted = count_depth(depth)
    assert counted.params == params
    assert counted.conv_macs == conv_macs
    assert counted.batch_norm_elements == batch_norm_elements
    assert counted.flops == flops


@pytest.mark.parametrize(
    ("depth", "params"), [(1, 479_552), (2, 1_924_672), (3, 9_400_384), (4, 23_508_432)]
)
def test_sizes_and_work_round_to_table_1(depth: int, params: int) -> None:
    counted = count_depth(depth)
    assert counted.params == params
    printed_params = GOLDEN["paper_table1_res1to4_paramsM"][depth - 1]
    printed_flops = GOLDEN["paper_table1_res1to4_G"][depth - 1]
    assert round(counted.params / 1e6, 2) == printed_params
    assert round(counted.flops / 1e9, 2) == printed_flops


def test_an_exit_that_another_answers_together_with_is_counted() -> None:
    paper = Architecture(num_classes=1)
    alone, both = count_depth(4), count_depth(4, replace(paper, summed_exits=(3, 4)))
    exit_3 = 1024 * 256 + 256 * 256 + 256 * 2048
    assert both.conv_macs - alone.conv_macs == 16 * 8 * exit_3
    assert both.pooled_elements == 2 * alone.pooled_elements
    assert both.params - alone.params == exit_3 + 2 * (256 + 256 + 2048)


def test_without_attention_res4_is_a_plain_resnet50() -> None:
    counted = count_depth(4, Architecture(num_classes=1, attention=False))
    assert counted.params == GOLDEN["prefix4"][0]
    assert counted.flops == GOLDEN["resnet50_gap"][3]
