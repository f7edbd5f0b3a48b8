"""The training recipe, typed; the defaults are the paper's values.

Sec. III.B of the paper; what it leaves open is taken from APNet, whose recipe it follows.
"""

from typing import Literal

from adln.errors import SettingsError
from adln.losses.objective import ObjectiveWeights
from adln.model.backbone import StridePosition
from adln.model.exits import FEATURE_DIM
from adln.model.imagenet import TORCHVISION_RESNET50_SHA256, TORCHVISION_RESNET50_URL
from adln.model.network import DEPTHS, Architecture
from adln.settings import settings
from adln.training.augmentation import Augmentation
from adln.training.schedule import Schedule
from adln.training.teacher import TeacherNetwork

Precision = Literal["32-true", "bf16-mixed"]


@settings
class NetworkSettings:
    """The network to train.

    Attributes:
        exits: depths that have an exit; with (1, 2), stages 3 and 4 are not built.
        attention: dimension interaction attention after stages 3 and 4.
        stride_position: "3x3" (Table 1 and torchvision's weights) or "1x1" (original weights).
        bn_eps: epsilon of batch norms; original Keras weights need 1.001e-5.
        imagenet: path or https URL of ResNet-50 weights; "" starts from random weights.
        imagenet_sha256: digest of the file, or its first 8 or more characters; required for a URL.
        start_from: path of a trained adln network whose stages and exits are copied, e.g. one
            trained on smaller crops or other people, or a shallower one to be grown. Its
            classifiers are copied if the number of persons is equal; then these should be the same
            persons. Missing parts start from the ImageNet weights.
        shared_classifier: one classifier for all exits, which puts their embeddings into one space:
            a query at one depth then finds a gallery of another.
        frozen_depth: stages and exits up to this depth keep the weights of `start_from`, bit for
            bit, but row weights are resampled for crops of another height; 0 trains all. A shared
            classifier is kept too, so that deeper exits grow into the space of a network already in
            use.
        teacher_space: the exits' embeddings are in the imitated network's space, of the same length
            and comparable with its embeddings; otherwise each exit predicts them by a discarded
            map.
        row_weights: each channel of an exit weights the rows of its map before averaging, see
            `adln.model.exits.Exit`; at first by one, unless `start_from` has weights.
        instance_norm: half of the channels in stages 1 and 2 are normalised within each crop, see
            `adln.model.backbone.HalfInstanceNorm`; `start_from` may be a network without it.
        summed_exits: each of these but the first answers with the sum of its own embedding and
            those of the earlier ones, each of unit length, so that it learns what they miss; all
            exits deeper than the first must be among them. For exits of one space.
        frozen_statistics: batch norms keep the means and variances of `start_from`, for few crops
            of one place, whose statistics would be worse.
    """

    exits: tuple[int, ...] = DEPTHS
    attention: bool = True
    stride_position: StridePosition = "3x3"
    bn_eps: float = 1e-5
    imagenet: str = TORCHVISION_RESNET50_URL
    imagenet_sha256: str = TORCHVISION_RESNET50_SHA256
    start_from: str = ""
    shared_classifier: bool = False
    frozen_depth: int = 0
    teacher_space: bool = False
    row_weights: bool = False
    instance_norm: bool = False
    summed_exits: tuple[int, ...] = ()
    frozen_statistics: bool = False

    def __post_init__(self) -> None:
        if not self.exits or not set(self.exits) <= set(DEPTHS):
            raise SettingsError(
                f"network.exits must be depths out of {list(DEPTHS)}, one or more, "
                f"got {list(self.exits)}"
            )
        if list(self.exits) != sorted(set(self.exits)):
            raise SettingsError(
                "network.exits must ascend without repetition, such as [1, 2], "
                f"got {list(self.exits)}"
            )
        if not self.bn_eps > 0:
            raise SettingsError(f"network.bn_eps must be more than 0, got {self.bn_eps}")
        if not 0 <= self.frozen_depth < max(self.exits):
            raise SettingsError(
                "network.frozen_depth must be at least 0 and less than the deepest exit "
                f"{max(self.exits)}, got {self.frozen_depth}"
            )
        if self.frozen_depth and not self.start_from:
            raise SettingsError(
                "network.frozen_depth keeps trained weights, so network.start_from must name a "
                "trained network"
            )
        if self.frozen_statistics and not self.start_from:
            raise SettingsError(
                "network.frozen_statistics keeps the statistics of a trained network, so "
                "network.start_from must name one"
            )


@settings
class Batch:
    """Composition of a batch.

    Attributes:
        persons: P, number of persons.
        crops: K, crops of each person.
        unlabelled: additional random crops, with or without a label, to imitate a teacher on. With
            `persons` and `crops` 0 these are the only ones.
        height_px: height of a crop.
        width_px: width of a crop.
        stored_height_px: height at which crops are stored and augmented, if larger, so that a
            teacher gets them at its own size; 0 stores them at the training size.
        stored_width_px: their width, likewise.
    """

    persons: int = 20
    crops: int = 4
    unlabelled: int = 0
    height_px: int = 256
    width_px: int = 128
    stored_height_px: int = 0
    stored_width_px: int = 0

    @property
    def stored_size_px(self) -> tuple[int, int]:
        """Height and width of the crops in memory."""
        return self.stored_height_px or self.height_px, self.stored_width_px or self.width_px

    def __post_init__(self) -> None:
        stored_height, stored_width = self.stored_size_px
        if stored_height < self.height_px or stored_width < self.width_px:
            raise SettingsError(
                "batch.stored_height_px and batch.stored_width_px must be 0 or at least the size "
                f"of the crops, got {stored_height} x {stored_width}"
            )
        nobody = self.persons == 0 and self.crops == 0 and self.unlabelled > 1
        if (self.persons < 2 or self.crops < 2) and not nobody:
            raise SettingsError(
                "batch.persons and batch.crops must be at least 2: a triplet needs another crop "
                f"of the person and another person, got {self.persons} x {self.crops}"
            )
        if self.unlabelled < 0:
            raise SettingsError(f"batch.unlabelled must be at least 0, got {self.unlabelled}")
        if self.height_px % 16 or self.width_px % 16 or min(self.height_px, self.width_px) < 16:
            raise SettingsError(
                "batch.height_px and batch.width_px must be multiples of 16, "
                f"got {self.height_px} x {self.width_px}"
            )


@settings
class Recipe:
    """Everything that determines the weights, except the data.

    Attributes:
        network: the network to train.
        batch: composition of a batch.
        augmentation: random variation of crops.
        objective: the losses and their weights.
        schedule: learning rate over the epochs.
        teacher: path of a feature file written by `adln embed`, with another network's embeddings
            of the training pictures, for `objective.imitation`; or, if the data come with
            embeddings, path of the network they are from; "" for none.
        teacher_network: in place of `teacher`, a network that embeds each augmented crop.
        optimiser: "adam", as in the paper, or "adamw", with decoupled weight decay.
        weight_decay: Adam's L2 term, on every parameter.
        average_decay: the stored network is the moving average of the weights, of which each step
            keeps this share, such as 0.999; 0 stores the last weights, as in the paper.
        precision: "32-true", or "bf16-mixed" for autocast to bfloat16.
        compile: compile the network with torch.compile. With several threads on a CPU, torch 2.13
            was seen to compute losses that are not a number; the run then stops and says so.
        seed: seed of weights, batches and augmentation.
    """

    network: NetworkSettings = NetworkSettings()
    batch: Batch = Batch()
    augmentation: Augmentation = Augmentation()
    objective: ObjectiveWeights = ObjectiveWeights()
    schedule: Schedule = Schedule()
    teacher: str = ""
    teacher_network: TeacherNetwork = TeacherNetwork()
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 5e-4
    average_decay: float = 0.0
    precision: Precision = "32-true"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weight_decay >= 0:
            raise SettingsError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed must be at least 0 and less than 2^63, got {self.seed}")
        if not 0 <= self.average_decay < 1:
            raise SettingsError(
                f"average_decay must be at least 0 and less than 1, got {self.average_decay}"
            )
        taught = bool(self.teacher) + bool(self.teacher_network.path)
        if taught > 1 or bool(taught) != self.objective.imitates:
            raise SettingsError(
                "a teacher requires objective.imitation or objective.relation, and vice versa: set "
                "teacher (a feature file) or teacher_network.path (a network), and a weight above "
                f"0; got {self.teacher!r}, {self.teacher_network.path!r} "
                f"and {self.objective.imitation}, {self.objective.relation}"
            )
        if self.network.summed_exits and not self.network.teacher_space:
            raise SettingsError(
                "network.summed_exits needs exits of one space: set network.teacher_space"
            )
        shares_space = self.network.teacher_space or len(self.network.exits) == 1
        if self.objective.camera_contrast and not shares_space:
            raise SettingsError(
                "objective.camera_contrast needs exits of one space: set network.teacher_space, or "
                "a single exit"
            )
        if not taught and (self.batch.unlabelled or self.network.teacher_space):
            raise SettingsError(
                "batch.unlabelled and network.teacher_space need a teacher: set teacher or "
                "teacher_network"
            )
        if not self.batch.persons and self.objective.needs_labels:
            raise SettingsError(
                "batch.persons = 0 leaves no labelled crops, which the objective needs: set "
                "identity, margin_identity, triplet, center, distillation and camera_contrast to 0"
            )

    def architecture(
        self, num_classes: int, *, teacher_dim: int | None = None, teacher_space: str = ""
    ) -> Architecture:
        """The network that this recipe trains, for `num_classes` identities.

        With `network.teacher_space`, its embeddings have the length and the space of the teacher's.
        """
        own = teacher_dim is None or not self.network.teacher_space
        return Architecture(
            embedding_dim=FEATURE_DIM if teacher_dim is None or own else teacher_dim,
            space="" if own else teacher_space,
            num_classes=num_classes,
            exits=self.network.exits,
            summed_exits=self.network.summed_exits,
            attention=self.network.attention,
            stride_position=self.network.stride_position,
            bn_eps=self.network.bn_eps,
            row_weights=self.network.row_weights,
            instance_norm=self.network.instance_norm,
            height_px=self.batch.height_px,
            width_px=self.batch.width_px,
        )
