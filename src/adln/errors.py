"""All errors that adln raises on purpose.

Each message says what was expected, what was received and what to do, for users to read unchanged.
"""

from importlib import import_module
from typing import Any


class AdlnError(Exception):
    """Base of all errors raised on purpose by adln."""


class ImageError(AdlnError):
    """A picture cannot be read, decoded or cropped; the message names it."""


class DatasetError(AdlnError):
    """A data set is missing, incomplete or not in the requested layout."""


class SettingsError(AdlnError):
    """A settings file or option has an unknown key or an invalid value."""


class CameraNumberTakenError(SettingsError):
    """Another camera of the gallery has the number that a camera was to get."""


class TracksError(SettingsError):
    """Tracks cannot be learned from: too few, of too few people, or with mixed identities."""


class CheckpointError(AdlnError):
    """A weights or checkpoint file is missing, truncated, or of another network."""


class TrainingError(AdlnError):
    """Training cannot start or continue (for example, the loss is not finite)."""


class EvaluationError(AdlnError):
    """An evaluation has no result (for example, no query has a match)."""


class ModelFileError(AdlnError):
    """An exported network is missing, truncated, unknown, or does not match its manifest."""


class DeviceError(ModelFileError):
    """An exported network gives wrong embeddings on this device."""


class ExportError(AdlnError):
    """A network cannot be exported."""


class ParityError(ExportError):
    """The outputs of an exported file differ from those of its network."""


class GalleryError(AdlnError):
    """A gallery cannot store, search or erase as requested; it is unchanged."""


class ForgottenNameError(GalleryError):
    """A name belonged to a person who was forgotten on request."""


class SightingError(AdlnError):
    """A sighting has an invalid value or cannot be parsed."""


class DeliveryError(AdlnError):
    """A sighting cannot be stored or sent at the moment; it is kept and retried."""


class EventRefusedError(DeliveryError):
    """Frigate answers, but refuses what was asked of one event."""


class CameraError(AdlnError):
    """A camera, a video or a list of boxes cannot be read or used."""


class ServiceError(AdlnError):
    """The service cannot start, or cannot store its tokens or audit log."""


class UndeliveredError(DeliveryError):
    """A receiver has not acknowledged all sightings sent to it.

    `acknowledged` is how many it has acknowledged, from the first on; `refused` whether it refuses
    the content of the next one, so that retrying will not help.
    """

    def __init__(self, reason: str, *, acknowledged: int = 0, refused: bool = False) -> None:
        super().__init__(reason)
        self.acknowledged = acknowledged
        self.refused = refused


def require_package(name: str, *, extra: str, purpose: str, raises: type[AdlnError]) -> Any:
    """Import a package of an extra, or raise an error of the class `raises` that says how."""
    try:
        return import_module(name)
    except ImportError as error:
        raise raises(
            f"{purpose} needs {name.partition('.')[0]}, which is not installed; "
            f"{how_to_install(extra)}."
        ) from error


def how_to_install(extra: str) -> str:
    """The command that installs an extra, for the end of a message."""
    return f'in the source folder of adln (git clone): pip install ".[{extra}]"'
