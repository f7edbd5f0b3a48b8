r"""Cuts people out of photographs, for `adln train --unlabelled`.

    python -m benchmarks.street_crops PICTURES --detector yolox_nano_416.onnx --out data/street

Beside a picture folder may lie Annotations in the form of PASCAL VOC, whose boxes of class
"person" are taken first, or labels in the form of YOLO, whose boxes are all taken for people. The
detector, if one is given, looks at the whole picture and at four overlapping parts of it, so that
small people are found. Nobody is named, and one person may be there twice: only a teacher's
embeddings can be learned from such crops.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.boxes import iou
from adln.cameras.detector import YoloxDetector
from adln.cameras.frames import Frame
from adln.crops import read_image
from adln.errors import ImageError

_CONFIDENCE = 0.5
_SAME_PERSON = 0.5  # overlap
_SMALLEST_PX = (80, 24)  # height, width
_SHAPES = (1.4, 4.5)  # height through width
_TALLEST_PX = 320
_PART_HEIGHT, _PART_WIDTH = 0.7, 0.6
_EDGE_PX = 2

Box = tuple[float, float, float, float]


def annotated(path: Path, height_px: int, width_px: int) -> list[Box]:
    """The people that an annotation beside the picture names, xyxy in pixels."""
    found = []
    labels = path.parent.parent / "labels" / f"{path.stem}.txt"
    if labels.is_file():
        for line in labels.read_text().splitlines():
            _, x, y, width, height = map(float, line.split()[:5])
            found.append(
                (
                    (x - width / 2) * width_px,
                    (y - height / 2) * height_px,
                    (x + width / 2) * width_px,
                    (y + height / 2) * height_px,
                )
            )
    file = path.parent.parent / "Annotations" / f"{path.stem}.xml"
    if not file.is_file():
        return found
    for thing in ET.parse(file).iter("object"):
        box = thing.find("bndbox")
        if thing.findtext("name") == "person" and box is not None:
            x1, y1, x2, y2 = (float(box.findtext(k, "0")) for k in ("xmin", "ymin", "xmax", "ymax"))
            found.append((x1, y1, x2, y2))
    return found


def parts(height_px: int, width_px: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, width and height of the whole picture and of its four overlapping parts."""
    yield 0, 0, width_px, height_px
    height, width = int(height_px * _PART_HEIGHT), int(width_px * _PART_WIDTH)
    for left in (0, width_px - width):
        for top in (0, height_px - height):
            yield left, top, width, height


def detected(detector: YoloxDetector, image: NDArray[np.uint8]) -> Iterator[Box]:
    """Boxes of people who are not cut by the border of a part."""
    whole_height, whole_width = image.shape[:2]
    for left, top, width, height in parts(whole_height, whole_width):
        part = np.ascontiguousarray(image[top : top + height, left : left + width])
        (answer,) = detector.detect([Frame(camera_id="", time_s=0.0, image=part, index=0)])
        for x1, y1, x2, y2 in answer.boxes_xyxy[answer.confidences >= _CONFIDENCE].tolist():
            cut = (
                (left > 0 and x1 < _EDGE_PX)
                or (top > 0 and y1 < _EDGE_PX)
                or (left + width < whole_width and x2 > width - _EDGE_PX)
                or (top + height < whole_height and y2 > height - _EDGE_PX)
            )
            if not cut:
                yield x1 + left, y1 + top, x2 + left, y2 + top


def people(detector: YoloxDetector | None, path: Path) -> Iterator[Image.Image]:
    """Crops of the people in a picture, each once, none too small or of an odd shape."""
    image = read_image(path)
    height_px, width_px = image.shape[:2]
    kept = annotated(path, height_px, width_px)
    for box in () if detector is None else detected(detector, image):
        others = np.array(kept, np.float32).reshape(-1, 4)
        if not (iou(np.array([box], np.float32), others) >= _SAME_PERSON).any():
            kept.append(box)
    for box in kept:
        x1, y1, x2, y2 = (
            round(min(max(side, 0), limit))
            for side, limit in zip(box, (width_px, height_px) * 2, strict=True)
        )
        height, width = y2 - y1, x2 - x1
        if height < _SMALLEST_PX[0] or width < _SMALLEST_PX[1]:
            continue
        if not _SHAPES[0] < height / width < _SHAPES[1]:
            continue
        crop = Image.fromarray(image[y1:y2, x1:x2])
        if height > _TALLEST_PX:
            crop = crop.resize(
                (max(1, width * _TALLEST_PX // height), _TALLEST_PX), Image.Resampling.LANCZOS
            )
        yield crop


@click.command()
@click.argument("pictures", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--detector", "detector_path", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(pictures: Path, detector_path: Path | None, out: Path) -> None:
    """Cut the people out of all pictures of a folder."""
    detector = None if detector_path is None else YoloxDetector(detector_path)
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for path in sorted(pictures.iterdir()):
        try:
            for number, crop in enumerate(people(detector, path)):
                crop.save(out / f"{path.stem}_{number:02d}.jpg", quality=92)
                written += 1
        except ImageError as error:
            click.echo(str(error), err=True)
    click.echo(f"{written:,} crops: {out}")


if __name__ == "__main__":
    main()
