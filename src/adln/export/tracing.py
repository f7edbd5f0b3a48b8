"""Traces a torch network into an ONNX graph from crops to embeddings.

The deployment of Sec. III.C (Res1 to Res4) with the test features of Sec. III.B: after the BNNeck,
of unit length. The tracer folds batch norms into convolutions.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
import torch
from torch import Tensor, nn

from adln.errors import ExportError
from adln.export.rewriting import rewrite
from adln.manifest import CROPS, InputForm, map_name, sum_name
from adln.model.network import ADLN

OPSET = 20
# With a single example crop, the tracer would treat the batch axis as constant.
EXAMPLE_BATCH_SIZE = 2
# Shorter features are not normalised, as in `adln.embeddings.unit_length`.
SHORTEST = 1e-12


class Deployed(nn.Module):
    """Crops -> embedding and norm of each exit, then the requested maps and sums.

    `maps` and `sums` are stages whose map, or sum of embeddings, is output as well. The network has
    exactly the wanted exits; it is not changed.
    """

    def __init__(
        self,
        network: ADLN,
        *,
        maps: Sequence[int] = (),
        sums: Sequence[int] = (),
        input_form: InputForm = "uint8_rgb_nhwc",
    ) -> None:
        super().__init__()
        self.network = network.keep(network.architecture.exits).cpu()
        self.maps, self.sums = tuple(maps), tuple(sums)
        self.input_form = input_form
        self.eval()

    def example(self, count: int) -> Tensor:
        """A batch of black crops, in the input form."""
        height_px, width_px = (
            self.network.architecture.height_px,
            self.network.architecture.width_px,
        )
        if self.input_form == "float_rgb_nchw":
            return torch.zeros(count, 3, height_px, width_px)
        return torch.zeros(count, height_px, width_px, 3, dtype=torch.uint8)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Crops in the input form -> embedding (N, D) and norm (N, 1) of each exit, maps, sums."""
        maps: list[Tensor] = []
        # Registered here, because the tracer warns of tensors kept between calls.
        handles = [
            self.network.stages[str(stage)].register_forward_hook(
                lambda _module, _inputs, stage_map: maps.append(stage_map)
            )
            for stage in self.maps
        ]
        planes = crops if self.input_form == "float_rgb_nchw" else crops.permute(0, 3, 1, 2)
        output = self.network(planes)
        for handle in handles:
            handle.remove()
        answers = []
        for answer in output.exits.values():
            feature = answer.embedding  # (N, D)
            norm = torch.linalg.vector_norm(feature, dim=1, keepdim=True).clamp_min(SHORTEST)
            answers += [feature / norm, norm]
        return (*answers, *maps, *(output.exits[depth].embedding for depth in self.sums))


def trace(
    network: ADLN,
    output_names: Sequence[str],
    *,
    maps: Sequence[int] = (),
    input_form: InputForm = "uint8_rgb_nhwc",
) -> ir.Model:
    """Trace and rewrite a network: a float32 graph, opset 20, with a dynamic batch axis.

    `output_names` are embedding and norm for each of its exits, which are exactly the wanted ones,
    ascending by depth. The map of each stage of `maps` is output as "map_<stage>", with
    "sum_<stage>" if embeddings of exits are summed there. The network is not changed.

    Raises:
        ExportError: the tracer fails on this network.
    """
    sums = [stage for stage in maps if stage in network.architecture.summed_exits]
    deployed = Deployed(network, maps=maps, sums=sums, input_form=input_form)
    try:
        with _without_known_warnings():
            program = torch.onnx.export(
                deployed,
                (deployed.example(EXAMPLE_BATCH_SIZE),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                input_names=[CROPS],
                output_names=[*output_names, *map(map_name, maps), *map(sum_name, sums)],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"torch cannot trace this network: {error}") from error
    assert program is not None
    model: ir.Model = program.model
    rewrite(model)
    return model


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Suppress the tracer's messages about itself and torchvision, and no others."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.addFilter(is_news)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.removeFilter(is_news)
