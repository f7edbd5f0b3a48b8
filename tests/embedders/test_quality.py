import pytest

from adln.embedders.quality import depths_for, files_for
from adln.errors import SettingsError


def test_the_default_network_stands_for_both_that_are_shipped() -> None:
    assert files_for(["res2"], "fast") == ("res1",)
    assert files_for(["res2"], "balanced") == ("res1", "res2")
    assert files_for(["res2"], "best") == ("res2",)


def test_a_network_that_somebody_names_is_used_whatever_the_quality() -> None:
    for quality in ("fast", "balanced", "best"):
        assert files_for(["res1"], quality) == ("res1",)
        assert files_for(["1.onnx", "2.onnx"], quality) == ("1.onnx", "2.onnx")


def test_fast_is_the_shallowest_depth_best_the_deepest_and_balanced_both() -> None:
    assert depths_for((1, 2, 4), "fast", files=["x"]) == (1, 1)
    assert depths_for((1, 2, 4), "best", files=["x"]) == (4, 4)
    assert depths_for((1, 2, 4), "balanced", files=["x"]) == (1, 4)
    assert depths_for((3,), "fast", files=["x"]) == depths_for((3,), "best", files=["x"]) == (3, 3)


def test_balanced_says_that_one_depth_is_not_enough_and_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"mine\.onnx gives Res2 only.*split export"):
        depths_for((2,), "balanced", files=["mine.onnx"])
