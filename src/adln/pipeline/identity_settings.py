"""When people are enrolled, and what is stored of them."""

from math import inf

from adln.matching.identification import LEAST_GALLERY
from adln.settings import require_between, settings


@settings
class IdentitySettings:
    """When people are enrolled, and what is stored of them.

    Attributes:
        enrol_quality: lowest quality of a crop that counts for enrolling.
        enrol_crops: crops needed to enrol, or the current limit of crops per track if lower.
        enrol_track_s: shortest time that a person must have been seen to be enrolled, in s.
        new_below: a candidate of lower probability becomes a new person (see `doubt_s` for when).
        new_below_here: the same if the person was seen by the same camera: strangers before one
            camera, in the same light and place, look more alike than those of two cameras, to
            which calibrations are fitted.
        doubt_s: candidates become new people when their track ends or has lasted this many seconds.
        return_s: a person who left this camera at most this many seconds ago is expected back.
        least_gallery: scores are judged as in a gallery of at least this many people. A calibration
            is lenient with a gallery of three, but a wrong match in it is permanent. Searches by
            the command line and the service use the same rule.
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
        require_between(
            self,
            (1, inf, ["enrol_crops", "least_gallery"]),
            (0, 1, ["enrol_quality", "new_below", "new_below_here"]),
            (0, inf, ["enrol_track_s", "doubt_s", "return_s"]),
        )
