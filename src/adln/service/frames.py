"""Detects people in pictures that clients send."""

from collections.abc import Callable

from adln.atomic import is_there
from adln.cameras.captures import load_opencv
from adln.cameras.fetching import default_detector
from adln.cameras.finding import FoundPerson, PeopleFinder
from adln.crops import decode_image
from adln.errors import AdlnError

FindPeople = Callable[[bytes], list[FoundPerson]]
"""Content of a picture file -> people in it, highest confidence first; raises `ImageError`."""


def open_finder() -> FindPeople | None:
    """A person detector; None if none is installed or OpenCV is missing."""
    if not is_there(default_detector()):
        return None
    try:
        load_opencv()
        finder = PeopleFinder()
    except AdlnError:
        # The cameras report the problem; people can still be marked by hand.
        return None
    return lambda picture: finder.find(decode_image(picture))
