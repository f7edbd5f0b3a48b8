"""ADLN: ResNet-50 in four stages with an exit after each, and the networks cut from it.

Sec. II, Fig. 1 of the paper. Dimension interaction attention stands after stage 3 and after
stage 4; exit 3 reads stage 3 before the attention, so that Res3 is deployed without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adln.crops import CROP_HEIGHT_PX, CROP_WIDTH_PX
from adln.errors import CheckpointError
from adln.model.attention import DimensionInteractionAttention
from adln.model.backbone import Stem, StridePosition, build_stage
from adln.model.exits import FEATURE_DIM, PX_PER_ROW, Exit, ExitOutput

DEPTHS = (1, 2, 3, 4)
# Deeper maps tell people apart, and their style is part of that; see IBN-Net.
_INSTANCE_NORM_STAGES = (1, 2)
_SHORTEST = 1e-12  # what is shorter stays as it is, as in torch's own normalize
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels scaled to 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """What it takes to build the same network again.

    Attributes:
        num_classes: K training identities.
        exits: depths that have an exit, ascending; the deepest decides how many stages there are.
        attention: dimension interaction attention after stages 3 and 4.
        stride_position: convolution that carries a block's stride: "3x3" (Table 1, torchvision
            weights) or "1x1" (weights of the original ResNet).
        bn_eps: epsilon of the batch norms of backbone and exits.
        embedding_dim: D, length of an embedding; less than 2048: projected into a common space.
        summed_exits: exits that answer together, ascending: at each of these depths the embedding
            is the sum of their own and all shallower ones', each of unit length. They are there
            even where `exits` does not ask for them. Not in the paper; only of use in a common
            space.
        height_px, width_px: of the crops that the weights were trained for.
        space: name of the space that all exits' embeddings lie in, 16 hex digits, if they were
            taught one, such as another network's; "" if their classifiers tell it, see
            `adln.export.spaces`.
        row_weights: the exits weight the rows of their maps, each channel on its own, see
            `adln.model.exits.Exit`; not in the paper.
        instance_norm: half of the channels in stages 1 and 2 are normalised within each crop, see
            `adln.model.backbone.HalfInstanceNorm`; not in the paper.
    """

    num_classes: int
    exits: tuple[int, ...] = DEPTHS
    attention: bool = True
    stride_position: StridePosition = "3x3"
    bn_eps: float = 1e-5
    embedding_dim: int = FEATURE_DIM
    summed_exits: tuple[int, ...] = ()
    height_px: int = CROP_HEIGHT_PX
    width_px: int = CROP_WIDTH_PX
    space: str = ""
    row_weights: bool = False
    instance_norm: bool = False

    def __post_init__(self) -> None:
        if not self.exits or not set(self.exits) <= set(DEPTHS):
            raise CheckpointError(f"exits must be depths out of {DEPTHS}, got {self.exits}")
        if tuple(sorted(set(self.exits))) != self.exits:
            raise CheckpointError(f"exits must ascend without repetition, got {self.exits}")
        if tuple(sorted(set(self.summed_exits))) != self.summed_exits or not (
            set(self.summed_exits[-1:]) <= set(self.exits) and set(self.summed_exits) <= set(DEPTHS)
        ):
            raise CheckpointError(
                f"summed_exits must ascend without repetition and end with one of the exits "
                f"{self.exits}, got {self.summed_exits}"
            )
        alone = [d for d in self.exits if self.summed_exits and d > self.summed_exits[0]]
        if not set(alone) <= set(self.summed_exits):
            raise CheckpointError(
                f"behind the first of summed_exits {self.summed_exits} all of {self.exits} belong "
                "to them"
            )
        if self.num_classes < 1:
            raise CheckpointError(f"num_classes must be at least 1, got {self.num_classes}")
        if not 1 <= self.embedding_dim <= FEATURE_DIM:
            raise CheckpointError(
                f"embedding_dim must be 1 to {FEATURE_DIM}, got {self.embedding_dim}"
            )
        if self.stride_position not in ("3x3", "1x1"):
            raise CheckpointError(
                f'stride_position must be "3x3" or "1x1", got {self.stride_position!r}'
            )

    @property
    def depth(self) -> int:
        """Number of stages: the deepest exit."""
        return self.exits[-1]

    @property
    def built_exits(self) -> tuple[int, ...]:
        """Depths that have an exit, ascending: those that answer and those that they need."""
        return tuple(sorted({*self.exits, *self.summed_exits}))

    def cut(self, exits: Iterable[int]) -> "Architecture":
        """The same with only these exits and what they need."""
        wanted = tuple(sorted(set(exits)))
        last_summed = max((depth for depth in wanted if depth in self.summed_exits), default=0)
        summed = tuple(depth for depth in self.summed_exits if depth <= last_summed)
        return replace(self, exits=wanted, summed_exits=summed)


@dataclass(frozen=True)
class NetworkOutput:
    """What the network says of B crops: depth -> answers of that exit, ascending by depth."""

    exits: dict[int, ExitOutput]

    @property
    def deepest(self) -> ExitOutput:
        """Answers of the deepest exit: the teacher."""
        return self.exits[max(self.exits)]


class ADLN(nn.Module):
    """The network of the paper, or what is left of it after `cut`.

    Weights are random (Kaiming); `adln.model.imagenet` gives the backbone a start,
    `adln.model.checkpoint` reads trained weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        eps = architecture.bn_eps
        rows = -(-architecture.height_px // PX_PER_ROW)
        self.stem = Stem(eps)
        self.stages = nn.ModuleDict(
            {
                str(number): build_stage(
                    number,
                    architecture.stride_position,
                    eps,
                    instance_norm=architecture.instance_norm and number in _INSTANCE_NORM_STAGES,
                )
                for number in range(1, architecture.depth + 1)
            }
        )
        self.attention = nn.ModuleDict()
        if architecture.attention and architecture.depth == 4:
            self.attention["3"] = DimensionInteractionAttention()
            self.attention["4"] = DimensionInteractionAttention()
        self.exits = nn.ModuleDict(
            {
                str(depth): Exit(
                    depth,
                    architecture.num_classes,
                    eps,
                    architecture.embedding_dim,
                    weighted_rows=rows if architecture.row_weights else 0,
                )
                for depth in architecture.built_exits
            }
        )
        mean, std = self.pixel_statistics()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def pixel_statistics() -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of ImageNet pixels, (1, 3, 1, 1) each, RGB, for 0..255."""
        shape = (1, 3, 1, 1)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        return 255.0 * mean.reshape(shape), 255.0 * std.reshape(shape)

    def forward(self, crops: Tensor) -> NetworkOutput:
        """Run all exits in one pass on (B, 3, H, W) RGB crops, uint8 or float, 0..255.

        H = 256 and W = 128 px as trained.
        """
        x = (crops - self.mean) / self.std  # (B, 3, 256, 128)
        x = self.stem(x)  # (B, 64, 64, 32)
        exits: dict[int, ExitOutput] = {}
        total: Tensor | None = None  # of the exits that answer together, (B, D)
        for name, stage in self.stages.items():
            depth = int(name)
            x = stage(x)  # (B, 256 .. 2048, 64 .. 16, 32 .. 8)
            attended = self.attention[name](x) if name in self.attention else x
            if name in self.exits:
                # Exit 3 reads its stage before the attention: only then has Res3 Table 1's size.
                answer: ExitOutput = self.exits[name](x if depth == 3 else attended)
                if depth in self.architecture.summed_exits:
                    # F.normalize would make exported graphs ask for the number of crops.
                    length = torch.linalg.vector_norm(answer.embedding, dim=1, keepdim=True)
                    own = answer.embedding / length.clamp_min(_SHORTEST)
                    total = own if total is None else total + own
                    answer = replace(answer, embedding=total)
                if depth in self.architecture.exits:
                    exits[depth] = answer
            x = attended
        return NetworkOutput(exits)

    def cut(self, depth: int) -> "ADLN":
        """`keep` for one depth; bit for bit the answers of the same exit of this network."""
        return self.keep((depth,))

    def identity_cosines(self, depth: int, embeddings: Tensor) -> Tensor:
        """Cosine of (B, D) embeddings of an exit and each identity's direction: (B, K) float32."""
        weight: Tensor = self.get_parameter(f"exits.{depth}.classifier.weight")
        return F.linear(F.normalize(embeddings.float()), F.normalize(weight.float()))

    def share_classifier(self) -> None:
        """Let all exits use the classifier of the shallowest, from now on.

        Their embeddings then come to lie in one space. The copies of `cut` and `keep`, and stored
        networks, hold the same numbers once for each exit.
        """
        shared = self.exits[str(self.architecture.exits[0])].classifier
        for branch in self.exits.values():
            branch.classifier = shared

    def freeze(self, depth: int) -> None:
        """Keep stages and exits up to a depth as they are: no gradients, fixed statistics; 0: none.

        `train()` would let the statistics of their batch norms move, so call it again after that.
        """
        if depth:
            self.stem.requires_grad_(False).eval()
        for parts in (self.stages, self.exits):
            for name, part in parts.items():
                if int(name) <= depth:
                    part.requires_grad_(False).eval()

    def keep(self, exits: Iterable[int]) -> "ADLN":
        """The network that has only these exits and what they need (stages, exits), weights copied.

        Raises:
            CheckpointError: this network has no such exit.
        """
        wanted = tuple(sorted(set(exits)))
        missing = set(wanted) - set(self.architecture.exits)
        if missing or not wanted:
            raise CheckpointError(
                f"cannot cut at depth {sorted(missing) or 'none'}: "
                f"this network has exits at {list(self.architecture.exits)}"
            )
        return self.rebuilt(self.architecture.cut(wanted), self.state_dict())

    def rebuilt(self, architecture: Architecture, state: Mapping[str, Tensor]) -> "ADLN":
        """A network of another architecture, with copies of what it needs of a state."""
        with torch.device("meta"):
            other = ADLN(architecture)
        copies = {name: state[name].detach().clone() for name in other.state_dict()}
        other.load_state_dict(copies, assign=True)
        other.mean, other.std = self.mean.clone(), self.std.clone()  # not part of the state
        return other.train(self.training)


def build_network(architecture: Architecture, *, seed: int) -> ADLN:
    """Build a network whose random weights depend on nothing but the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ADLN(architecture)
