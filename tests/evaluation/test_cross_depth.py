from collections.abc import Callable

import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.evaluation.cross_depth import CrossDepthCell, cross_depth_text, evaluate_cross_depth
from adln.evaluation.protocol import DepthResult, Evaluation
from adln.evaluation.ranking import evaluate_features

MakeEvaluation = Callable[..., Evaluation]


def test_every_pair_of_depths_is_ranked(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(noises={1: 1.2, 2: 0.8, 4: 0.4})
    cells = evaluate_cross_depth(evaluation)
    assert [(cell.query_depth, cell.gallery_depth) for cell in cells] == [
        (1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (4, 4)
    ]  # fmt: skip
    query, gallery = evaluation.query, evaluation.gallery
    for cell in cells:
        expected = evaluate_features(
            (evaluation.results[cell.query_depth].query_features, *query.ids),
            (evaluation.results[cell.gallery_depth].gallery_features, *gallery.ids),
        )
        assert (cell.rank1, cell.mean_ap) == (expected.rank1, expected.mean_ap)


def test_depths_in_spaces_of_their_own_do_not_find_each_other(
    make_evaluation: MakeEvaluation,
) -> None:
    shared = make_evaluation(noises={2: 0.5, 4: 0.5})
    deep = shared.results[4]
    turned = DepthResult(
        unit_length(deep.query_features[:, ::-1]),
        unit_length(deep.gallery_features[:, ::-1]),
        deep.metrics,
        None,
    )
    apart = Evaluation(shared.query, shared.gallery, {2: shared.results[2], 4: turned})
    mean_ap = {
        name: [cell.mean_ap for cell in evaluate_cross_depth(evaluation)]
        for name, evaluation in (("shared", shared), ("apart", apart))
    }
    assert mean_ap["apart"][0] == mean_ap["shared"][0]
    assert mean_ap["apart"][1] < 0.6 < mean_ap["shared"][1]


def test_the_text_has_queries_in_rows_and_galleries_in_columns() -> None:
    cells = tuple(
        CrossDepthCell(row, column, rank1=row / 10 + column / 100, mean_ap=0.5)
        for row in (1, 3)
        for column in (1, 3)
    )
    lines = cross_depth_text(cells).splitlines()
    assert lines[1].split() == ["query", "by", "Res1", "Res3"]
    assert lines[3].split() == ["Res1", "11.00", "13.00"]
    assert lines[4].split() == ["Res3", "31.00", "33.00"]
    assert lines[6].startswith("mAP")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_one_depth_alone_is_a_matrix_of_one(make_evaluation: MakeEvaluation, noise: float) -> None:
    evaluation = make_evaluation(noises={3: noise})
    (cell,) = evaluate_cross_depth(evaluation)
    assert cell.mean_ap == evaluation.results[3].metrics.mean_ap
    assert np.isclose(cell.rank1, evaluation.results[3].metrics.rank1)
