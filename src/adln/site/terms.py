"""What a network of a site was made from, and whose terms therefore hold."""

from pathlib import Path

from adln.model.checkpoint import read_provenance
from adln.site.crops import SiteCrops
from adln.site.recipes import imagenet_start
from adln.site.teacher import DeviceTeacher


def origin(start: Path, crops: SiteCrops) -> str:
    """What it was trained on, for its record."""
    return f"{crops.describe()} of one site; started from {_started_from(start)}"


def terms(start: Path, name: str, teacher: DeviceTeacher | None) -> str:
    """Whose terms hold, for its manifest.

    Args:
        start: weights that it started from.
        name: of the teacher, or its file.
        teacher: None if there was none.
    """
    taught = ""
    if teacher is not None:
        about = teacher.embedder.manifest
        taught = (
            f"teacher {Path(name).name}, licence {about.licence or 'not stated'}, "
            f"trained on {about.training_data or 'not stated'}; "
        )
    return (
        f"The terms of what it was made from hold: weights started from {_started_from(start)}; "
        f"{taught}pictures of this site."
    )


def _started_from(start: Path) -> str:
    if imagenet_start(start):
        return f"ImageNet weights ({start.name})"
    data = str(read_provenance(start).get("data", ""))
    return f"{start.name}, trained on {data or 'what it does not say'}"
