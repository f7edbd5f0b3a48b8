"""When the watch enrols somebody, and what is kept of them."""

from adln.errors import SettingsError
from adln.matching.identification import LEAST_GALLERY
from adln.settings import settings


@settings
class IdentitySettings:
    """When somebody is enrolled, and what is kept of them.

    Attributes:
        enrol_quality: crops of at least this quality count for enrolling.
        enrol_crops: so many of them are needed, or as many as a track may have at the moment.
        enrol_track_s: and the person must have been seen for so long.
        new_below: a candidate that is less probable becomes a new person,
        new_below_here: and this less probable, if the person was seen by the same camera: strangers
            before one camera, with the same light and place around them, look more alike than
            those of two cameras, to which calibrations are fitted;
        doubt_s: at the track's end, or when it was seen for so long.
        return_s: somebody who left this camera no longer ago is expected back.
        least_gallery: scores are judged as in a gallery of at least this many people. A calibration
            asks little of a gallery of three, but a wrong match in it stays for ever. Searches by
            the command line and the service judge in the same way.
    """

    enrol_quality: float = 0.2
    enrol_crops: int = 2
    enrol_track_s: float = 1.0
    new_below: float = 0.5
    new_below_here: float = 0.8
    doubt_s: float = 6.0
    return_s: float = 10.0
    least_gallery: int = LEAST_GALLERY

    def __post_init__(self) -> None:
        if self.enrol_crops < 1 or self.least_gallery < 1:
            raise SettingsError(
                "enrol_crops and least_gallery must be at least 1, got "
                f"{self.enrol_crops} and {self.least_gallery}."
            )
