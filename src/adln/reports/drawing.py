"""Colours and font of all pictures of this package."""

from PIL import ImageDraw, ImageFont

PAPER, INK, FAINT, LINE = "#ffffff", "#1f2937", "#6b7280", "#e5e7eb"
# Green and red differ in brightness, too, and the marks also differ in shape.
RIGHT, WRONG = "#16a34a", "#dc2626"
BAR = "#2563eb"


def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that pictures look the same on every machine."""
    return ImageFont.load_default(size=size_px)


def centred(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str, size_px: int
) -> None:
    """Draw a line of text; `at` is the middle of its upper edge."""
    draw.text(at, text, fill=colour, font=font(size_px), anchor="ma")
