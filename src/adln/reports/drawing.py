"""The colours and the font of all pictures that are drawn here."""

from PIL import ImageDraw, ImageFont

PAPER, INK, FAINT, LINE = "#ffffff", "#1f2937", "#6b7280", "#e5e7eb"
# Green and red that differ in brightness too; the marks differ in shape as well.
RIGHT, WRONG = "#16a34a", "#dc2626"
BAR = "#2563eb"


def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that pictures look the same on every machine."""
    return ImageFont.load_default(size=size_px)


def centred(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str, size_px: int
) -> None:
    """Write a line whose upper edge has its middle at a place."""
    draw.text(at, text, fill=colour, font=font(size_px), anchor="ma")
