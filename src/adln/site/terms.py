"""The origin of a site's network, and the terms that apply to it."""

from pathlib import Path

from adln.model.checkpoint import stated_data
from adln.site.crops import SiteCrops
from adln.site.recipes import imagenet_start
from adln.site.teacher import DeviceTeacher


def origin(start: Path, crops: SiteCrops) -> str:
    """What the network was trained on, for its record."""
    return f"{crops.describe()} of one site; started from {_started_from(start)}"


def terms(start: Path, name: str, teacher: DeviceTeacher | None) -> str:
    """The terms that apply to the network, for its manifest."""
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
    return f"{start.name}, trained on {stated_data(start)}"
