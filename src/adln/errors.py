"""Every error that adln raises on purpose.

Each message says what was expected, what came and what to do, so that a program can catch one
class (:class:`AdlnError`) and show its text to a person as it is.
"""

from importlib import import_module
from typing import Any


class AdlnError(Exception):
    """Base of all errors raised on purpose by adln."""


class ImageError(AdlnError):
    """A picture cannot be read, decoded or cut; the message names it."""


class DatasetError(AdlnError):
    """A data set is missing, incomplete or not in the layout that was asked for."""


class SettingsError(AdlnError):
    """A settings file or option has an unknown key or a value that cannot be used."""


class CameraNumberTakenError(SettingsError):
    """Another camera of the gallery has the number that a camera was to get."""


class TracksError(SettingsError):
    """Nothing can be learned from tracks: too few, of too few people, or of two people each."""


class CheckpointError(AdlnError):
    """A weights or checkpoint file is missing, truncated, or not of this network."""


class TrainingError(AdlnError):
    """Training cannot start or go on (for example, the loss is not finite)."""


class EvaluationError(AdlnError):
    """An evaluation has no result (for example, no query has a match)."""


class ModelFileError(AdlnError):
    """An exported network is missing, truncated, unknown, or does not fit its manifest."""


class DeviceError(ModelFileError):
    """An exported network gives wrong embeddings on this device."""


class ExportError(AdlnError):
    """A network cannot be exported."""


class ParityError(ExportError):
    """The outputs of an exported file differ from those of its network."""


class GalleryError(AdlnError):
    """A gallery cannot store, find or erase as asked; it is then unchanged."""


class ForgottenNameError(GalleryError):
    """A name belonged to somebody who was forgotten on request."""


class SightingError(AdlnError):
    """A sighting has an invalid value, or a text is not a sighting."""


class DeliveryError(AdlnError):
    """A sighting cannot be stored or sent for now; it is kept and retried."""


class EventRefusedError(DeliveryError):
    """Frigate answers, but refuses what was asked of one event."""


class CameraError(AdlnError):
    """A camera, a video or a list of boxes cannot be read or used."""


class ServiceError(AdlnError):
    """The service cannot start, or cannot keep its tokens or its audit log."""


class UndeliveredError(DeliveryError):
    """A receiver has not acknowledged all sightings it was given.

    Args:
        reason: Why, for the log.
        acknowledged: How many it has, counted from the front.
        refused: Whether the receiver refused the one after them for what it is, so that trying
            again will not help.
    """

    def __init__(self, reason: str, *, acknowledged: int = 0, refused: bool = False) -> None:
        super().__init__(reason)
        self.acknowledged = acknowledged
        self.refused = refused


def require_package(name: str, *, extra: str, purpose: str, raises: type[AdlnError]) -> Any:
    """Import a package that an extra brings.

    Returns:
        The module; what it offers is not typed here.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise raises(
            f"{purpose} needs {name.partition('.')[0]}, which is not installed; "
            f"{how_to_install(extra)}."
        ) from error


def how_to_install(extra: str) -> str:
    """What to do about a package that is missing, for the end of a message."""
    return f'in the source folder of adln (git clone): pip install ".[{extra}]"'
