"""Renders single-file HTML pages from the templates; every value is escaped."""

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def render(template: str, **values: Any) -> str:
    """Render a template of ``reports/templates``; a missing value is an error."""
    pages = Environment(
        loader=PackageLoader("adln.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    pages.filters["px"] = "{:.1f}".format
    pages.filters["css"] = "#{0[0]:02x}{0[1]:02x}{0[2]:02x}".format
    return pages.get_template(template).render(values)


def jpeg_uri(picture: Image.Image, *, quality: int) -> str:
    """A picture as a data URI, so that a page needs no other file."""
    buffer = io.BytesIO()
    # No chroma subsampling, which would blur thin coloured frames.
    picture.convert("RGB").save(buffer, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
