"""Finds people in the pictures that come over the network."""

from collections.abc import Callable

from adln.atomic import is_there
from adln.cameras.captures import load_opencv
from adln.cameras.fetching import default_detector
from adln.cameras.finding import FoundPerson, PeopleFinder
from adln.crops import decode_image
from adln.errors import AdlnError

FindPeople = Callable[[bytes], list[FoundPerson]]
"""Content of a picture file -> who is in it, the clearest first; raises `ImageError`."""


def open_finder() -> FindPeople | None:
    """What finds people in pictures; None where no detector was fetched, or OpenCV is missing."""
    if not is_there(default_detector()):
        return None
    try:
        load_opencv()
        finder = PeopleFinder()
    except AdlnError:
        # The cameras say what is wrong with it; people can still be marked by hand.
        return None
    return lambda picture: finder.find(decode_image(picture))
