"""What an exported network says of itself: a small JSON text that travels inside the network file.

Carries the facts that a device needs to use a network of Table 1 rightly and to trust it: the
input, the depths, where the weights come from, and what was measured when it was exported.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from adln.errors import ModelFileError
from adln.strict import parse_json, read_strictly

FORMAT = "adln-model-1"
# Key of the manifest among the metadata of an ONNX file, and in OpenVINO's runtime information.
METADATA_KEY = "adln.manifest"
CROPS = "crops"
# A file from elsewhere shall not make a device draw for hours.
MOST_PROBE_CROPS = 64

Precision = Literal["fp32", "fp16", "int8"]
InputForm = Literal["uint8_rgb_nhwc", "float_rgb_nchw"]
# A space is named by the first digits of a SHA-256, see `adln.export.spaces`.
SPACE_DIGITS = 16
_SPACE = re.compile(f"[0-9a-f]{{{SPACE_DIGITS}}}")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
INPUT_FORMS: tuple[InputForm, ...] = get_args(InputForm)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How near the embeddings of the file are to those of the torch network, by cosine.

    `crops` were compared, given to the file in batches; one in a hundred falls below the
    `first_percentile`.
    """

    depth: int
    batch_size: int
    crops: int
    least: float
    mean: float
    first_percentile: float


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Retrieval on one data set, as shares in 0..1 without flip, by the file and by torch."""

    dataset: str
    depth: int
    rank1: float
    mean_ap: float
    torch_rank1: float
    torch_mean_ap: float


@dataclass(frozen=True, kw_only=True)
class PairProof:
    """Proof from the weights that int8 arithmetic cannot overflow on any processor.

    Some processors add two products of bytes in 16 bits. No two of these weights exceed that,
    whatever the activations are; see `adln.export.saturation`.

    Attributes:
        products: convolutions and matrix products of bytes that it covers.
        largest_sum: the largest absolute sum of two products; up to 32767 fits.
        weights_sha256: hex digest of the weights, in the order of the graph.
    """

    products: int
    largest_sum: int
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Crops that a device can draw itself, and what the network answers to them.

    A device that comes to other answers computes wrongly; see `adln.probe` and
    `adln.embedders.proving`.

    Attributes:
        seed: of the crops, see `adln.probe.draw_crops`.
        crops: how many.
        least: the cosine to the answers that each crop must reach: what the file reached where it
            was made, less an allowance for other roundings.
        answers: for each depth the embeddings (crops, D) of the torch network: little-endian
            float16 in Base64.
    """

    seed: int
    crops: int
    least: float
    answers: tuple[str, ...] = field(repr=False)

    def fits(self, depths: int, dim: int) -> bool:
        """Whether it has as many answers as it should, each of the length that it should have."""
        length = 4 * -(-2 * self.crops * dim // 3)
        return 1 <= self.crops <= MOST_PROBE_CROPS and [length] * depths == [
            len(text) for text in self.answers
        ]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an exported network says of itself.

    Attributes:
        depths: depths that the file answers, ascending.
        precision: of the convolutions' arithmetic.
        dim: D, length of an embedding.
        height_px: height of a crop; `width_px` is its width.
        input_form: what "crops" must be. "uint8_rgb_nhwc": (N, H, W, 3) uint8 RGB 0..255, as
            `adln.crops` gives it. "float_rgb_nchw": (N, 3, H, W) float32 RGB 0..255, for ncnn,
            which knows no bytes. Normalisation always happens inside the file.
        starts_after: 0 if the input is "crops"; a stage 1 to 3 if the input is "map_<stage>", the
            map that a shallower file of the same weights has put out.
        maps: stages whose maps the file puts out as "map_<stage>", for a deeper file to go on.
        sums: stages at which exits answer together: besides the map, "sum_<stage>" (N, D) float32
            is put out or taken there, the sum of their embeddings so far.
        training_data: what the weights learned from.
        licence: under which terms weights and data may be used; "" if unknown.
        calibration: what the int8 ranges were measured on and which modules stayed in float; "" for
            the other precisions.
        source_sha256: hex digest of the network file that was exported.
        adln_version: version that exported.
        created_utc: when, ISO 8601.
        parity: fidelity to the torch network, a row for each depth and batch size.
        accuracy: retrieval as measured at export, a row for each data set and depth.
        spaces: the space that each depth's embeddings lie in, in the order of `depths`: exits that
            were trained against one classifier share one, and their embeddings can be compared,
            whatever the depth, precision or file. "" if unknown; empty if all are. What is unknown
            can only be compared with the same depth of the same file.
        pairs: proof that the int8 arithmetic overflows on no processor; None for the other
            precisions and in files without one.
        probe: crops and answers by which a device is tried; None in files without one.

    Raises:
        ModelFileError: a value is impossible.
    """

    depths: tuple[int, ...]
    precision: Precision
    dim: int
    height_px: int
    width_px: int
    source_sha256: str
    adln_version: str
    created_utc: str
    input_form: InputForm = "uint8_rgb_nhwc"
    training_data: str = ""
    licence: str = ""
    calibration: str = ""
    starts_after: int = 0
    maps: tuple[int, ...] = ()
    sums: tuple[int, ...] = ()
    parity: tuple[Parity, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    spaces: tuple[str, ...] = ()
    pairs: PairProof | None = None
    probe: Probe | None = None
    format: str = FORMAT

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)!r}, expected {expected}"
            for name, is_fine, expected in (
                ("format", self.format == FORMAT, repr(FORMAT)),
                ("depths", _ascending(self.depths), "depths 1 to 4, ascending"),
                ("precision", self.precision in PRECISIONS, f"one of {PRECISIONS}"),
                ("dim", self.dim > 0, "a positive number"),
                ("height_px", self.height_px > 0, "a positive number"),
                ("width_px", self.width_px > 0, "a positive number"),
                ("input_form", self.input_form in INPUT_FORMS, f"one of {INPUT_FORMS}"),
                (
                    "starts_after",
                    0 <= self.starts_after < min(self.depths, default=0),
                    "0 or a stage before the first depth",
                ),
                ("maps", not self.maps or _ascending(self.maps), "stages 1 to 3, ascending"),
                ("sums", set(self.sums) <= {self.starts_after, *self.maps}, "stages of maps"),
                (
                    "spaces",
                    len(self.spaces) in (0, len(self.depths))
                    and all(not space or _SPACE.fullmatch(space) for space in self.spaces),
                    "nothing, or for each depth 16 hex digits or nothing",
                ),
                (
                    "probe",
                    self.probe is None or self.probe.fits(len(self.depths), self.dim),
                    f"1 to {MOST_PROBE_CROPS} crops, and for each depth answers to all of them",
                ),
            )
            if not is_fine
        ]
        if problems:
            raise ModelFileError(f"not a manifest of an adln network: {'; '.join(problems)}")

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the file's inputs: the crops, or what a shallower file has put out."""
        return (CROPS,) if self.starts_after == 0 else self.names_after(self.starts_after)

    @property
    def handed_over(self) -> tuple[str, ...]:
        """Names of the outputs that deeper files go on from."""
        return tuple(name for stage in self.maps for name in self.names_after(stage))

    def names_after(self, stage: int) -> tuple[str, ...]:
        """Names of what is handed over after a stage: the map, and a sum if there is one."""
        return (map_name(stage), *([sum_name(stage)] if stage in self.sums else []))

    @property
    def embedding_names(self) -> list[str]:
        """Names of the outputs (N, D), one for each depth."""
        return [self.output_names(depth)[0] for depth in self.depths]

    def output_names(self, depth: int) -> tuple[str, str]:
        """Names of the outputs for one depth.

        The first is (N, D) float32 of unit length, the second (N, 1) float32, the length of the
        feature before it was scaled: their product is the feature after the BNNeck.
        """
        if len(self.depths) == 1:
            return "embedding", "norm"
        return f"embedding_{depth}", f"norm_{depth}"

    def depth_name(self, depth: int) -> str:
        """What people call a depth: "Res2"; "whole" for a network of another make."""
        # Such a network is its own source, and its space is named by itself.
        own = self.source_sha256[:SPACE_DIGITS]
        return "whole" if self.spaces == (own,) and self.depths == (4,) else f"Res{depth}"

    def space_of(self, depth: int) -> str:
        """The space that a depth's embeddings lie in; "" if unknown.

        Raises:
            ModelFileError: the file does not answer this depth.
        """
        if depth not in self.depths:
            raise ModelFileError(f"there is no depth {depth}; the file answers {self.depths}.")
        return self.spaces[self.depths.index(depth)] if self.spaces else ""

    def to_json(self) -> str:
        """As a JSON text, keys in a fixed order."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, *, source: str) -> "Manifest":
        """Read a manifest strictly, as `to_json` wrote it; messages name its `source`.

        Raises:
            ModelFileError: no JSON, a key too many or too few, a value of the wrong type or out of
                range.
        """
        try:
            values = parse_json(text)
            if isinstance(values, dict) and values.get("format") != FORMAT:
                raise ModelFileError(
                    f"its format is {values.get('format')!r}, this version of adln reads {FORMAT!r}"
                )
            return read_strictly(cls, values, "manifest")
        except (ValueError, ModelFileError) as error:
            raise ModelFileError(
                f"{source}: the manifest inside cannot be read: {error}. "
                "Export the network again with `adln export`."
            ) from error


def map_name(stage: int) -> str:
    """Name of the input or output that carries the map of a stage, (N, C, H, W).

    float32, float16 or, in int8, uint8; it means nothing but to the files of the same export.
    """
    return f"map_{stage}"


def sum_name(stage: int) -> str:
    """Name of the input or output (N, D) float32 that carries the sum of embeddings so far."""
    return f"sum_{stage}"


def _ascending(depths: tuple[int, ...]) -> bool:
    return bool(depths) and set(depths) <= {1, 2, 3, 4} and tuple(sorted(set(depths))) == depths
