"""`import adln` costs nothing until something is used."""

import subprocess
import sys

import pytest

import adln


def loaded_after(code: str) -> set[str]:
    script = f"import sys; {code}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_import_brings_nothing_heavy() -> None:
    assert loaded_after("import adln") & {"numpy", "onnxruntime", "PIL", "click"} == set()


def test_a_gallery_needs_no_runtime() -> None:
    assert "onnxruntime" not in loaded_after("import adln; adln.Gallery")


def test_every_name_can_be_had_and_is_documented() -> None:
    for name in adln.__all__:
        assert getattr(adln, name) is not None
        if name != "__version__":
            assert getattr(adln, name).__doc__
    assert set(adln.__all__) <= set(dir(adln))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        adln.nothing  # noqa: B018
