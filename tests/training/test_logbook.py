"""The log of a run."""

from pathlib import Path

import pytest

from adln.errors import TrainingError
from adln.training.logbook import FILE_NAME, Logbook


def test_a_resumed_run_continues_its_log_and_keeps_columns_that_somebody_added(
    tmp_path: Path,
) -> None:
    with Logbook(tmp_path, first_epoch=1) as log:
        for epoch in (1, 2, 3):
            log.add(epoch, {"total": epoch / 2})
    path = tmp_path / FILE_NAME
    assert path.read_text() == "epoch,total\n1,0.5\n2,1\n3,1.5\n"
    # As a spreadsheet writes it.
    path.write_text("epoch,total,note\n1,0.5,slow\n2,1,\n3,1.5,\n", encoding="utf-8-sig")
    with Logbook(tmp_path, first_epoch=2) as log:
        log.add(2, {"total": 0.25})
    assert path.read_text() == "epoch,total,note\n1,0.5,slow\n2,0.25,\n"


@pytest.mark.parametrize(
    "text", ["epoch;total\n1;0.5\n", "epoch,total\n,0.5\n", "epoch,total\n1,0,5\n", "\xe9poch\n1\n"]
)
def test_a_log_that_another_program_changed_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text, encoding="latin-1")
    with pytest.raises(TrainingError, match=r"log\.csv: another program.*Move it elsewhere"):
        Logbook(tmp_path, first_epoch=2)
    assert path.read_text(encoding="latin-1") == text
