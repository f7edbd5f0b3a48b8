"""Opens the detector that the settings of a watch name."""

from pathlib import Path

from adln.cameras.detector import YoloxDetector
from adln.cameras.fetching import default_detector
from adln.errors import SettingsError
from adln.pipeline.watch_settings import DetectorSettings


def open_detector(chosen: DetectorSettings, folder: Path) -> YoloxDetector:
    """Open a detector of people; boxes from elsewhere (`boxes`) are none.

    Args:
        chosen: which, and how.
        folder: that paths in the settings are relative to.

    Raises:
        ModelFileError: the file is damaged, or no detector.
        SettingsError: there is no such file, or a value is out of its range.
    """
    path = folder / chosen.model if chosen.model else default_detector()
    if not path.is_file():
        raise SettingsError(
            f"{path}: there is no such detector. Name a YOLOX file in detector.model or in the "
            "variable ADLN_DETECTOR, or boxes in detector.boxes, or run `adln watch "
            "--fetch-detector` once."
        )
    return YoloxDetector(path, min_confidence=chosen.min_confidence, threads=chosen.threads)
