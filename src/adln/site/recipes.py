"""Recipes for site training: those of the networks that generalise, on unlabelled crops."""

from dataclasses import replace
from pathlib import Path

import torch

from adln.atomic import suffix_of
from adln.errors import CheckpointError
from adln.losses.objective import ObjectiveWeights
from adln.model import bfloat16
from adln.model.checkpoint import FORMAT, load_network
from adln.model.files import read_tensors
from adln.training.augmentation import Augmentation
from adln.training.recipe import Batch, NetworkSettings, Precision, Recipe
from adln.training.schedule import Schedule
from adln.training.teacher import TeacherNetwork

_SIZE_PX = (192, 96)  # of a network that starts from ImageNet weights
_CROPS_OF_A_STEP = 40
# Chosen on CUHK03, as was the choice of crops to contrast (see `adln.losses.cluster_contrast`).
ANCHOR_WEIGHT = 1.0
"""Weight of the cosine to the initial network, for a site without a teacher."""
CLUSTER_WEIGHT = 1.0
"""Weight of the contrast between clusters."""


def imagenet_start(start: Path) -> bool:
    """Whether a file contains ImageNet weights rather than a network of adln."""
    return suffix_of(start) != ".safetensors" or read_tensors(start)[1].get("format") != FORMAT


def require_start(start: Path) -> None:
    """Raise CheckpointError if no training can start from a file: it is a network for devices."""
    if suffix_of(start) in (".onnx", ".xml", ".param"):
        raise CheckpointError(
            f"{start}: is a network for devices, which cannot be trained further. Start from a "
            "network of `adln train` (.safetensors) or ImageNet weights of a ResNet-50."
        )


def require_trained(start: Path) -> None:
    """Raise CheckpointError if a file to start from does not recognise people yet.

    Without a teacher it must, to form clusters.
    """
    if imagenet_start(start):
        raise CheckpointError(
            f"{start}: training without a teacher must start from a network that recognises people "
            "(.safetensors of `adln train`), to form clusters; these are ImageNet weights."
        )


def start_space(start: Path) -> str:
    """The space of the initial network; "" if it has none, or is not trained on people yet."""
    return "" if imagenet_start(start) else load_network(start).architecture.space


def site_recipe(
    start: Path, *, teacher_path: str, teacher_size: tuple[int, int], depth: int
) -> Recipe:
    """Recipe to learn from a teacher on unlabelled crops, for a network that ends at `depth`.

    Like `recipes/generalising-192x96.toml`, except for the schedule's length and without labels. A
    network of adln to start from determines architecture and crop size; otherwise it starts from
    ImageNet weights. `teacher_path` is for the record, `teacher_size` the height and width in px of
    its crops.

    Raises:
        CheckpointError: the file cannot be used, or its network ends before that depth.
    """
    height, width = _SIZE_PX
    if imagenet_start(start):
        network = NetworkSettings(
            exits=(depth,), imagenet=str(start), imagenet_sha256="", teacher_space=True
        )
    else:
        form = load_network(start).architecture
        if depth not in form.exits:
            raise CheckpointError(
                f"{start}: has exits {list(form.exits)}, none at depth {depth}. Name one of them, "
                "or another network to start from."
            )
        height, width = form.height_px, form.width_px
        network = NetworkSettings(
            exits=(depth,),
            attention=form.attention,
            stride_position=form.stride_position,
            bn_eps=form.bn_eps,
            imagenet="",
            imagenet_sha256="",
            start_from=str(start),
            teacher_space=True,
            row_weights=form.row_weights,
            instance_norm=form.instance_norm,
            frozen_statistics=True,
        )
    return Recipe(
        network=network,
        teacher_network=TeacherNetwork(path=teacher_path),
        batch=Batch(
            persons=0,
            crops=0,
            unlabelled=_CROPS_OF_A_STEP,
            height_px=height,
            width_px=width,
            stored_height_px=max(height, teacher_size[0]),
            stored_width_px=max(width, teacher_size[1]),
        ),
        augmentation=Augmentation(
            zoom=0.12,
            erase_probability=0.2,
            erase_area=(0.02, 0.25),
            recolour_probability=0.6,
            brightness=0.3,
            contrast=0.2,
            saturation=0.4,
            hue=0.5,
            grey_probability=0.05,
            shuffle_probability=0.1,
            compose_probability=0.5,
        ),
        objective=ObjectiveWeights(
            identity=0.0,
            triplet=0.0,
            center=0.0,
            attention_transfer=0.0,
            distillation=0.0,
            imitation=10.0,
            relation=30.0,
        ),
        schedule=Schedule(
            base_lr=4e-4, warmup_epochs=0, shape="cosine", final_factor=0.02, every_step=True
        ),
        optimiser="adamw",
        weight_decay=0.02,
        average_decay=0.997,
        precision=_precision(),
    )


def cluster_recipe(start: Path, *, depth: int, teacher_path: str = "") -> Recipe:
    """Recipe to learn from clusters of a site's tracks; see `site_recipe`.

    The objective only keeps embeddings near those of the teacher or of the initial network;
    `adln.site.lesson` supplies the contrast. No crops are composed of two people, and colours
    change only as far as lighting changes them, because there are no labels.
    """
    taught = site_recipe(start, teacher_path=str(start), teacher_size=(0, 0), depth=depth)
    return replace(
        taught,
        teacher=teacher_path or str(start),
        teacher_network=TeacherNetwork(),
        augmentation=Augmentation(
            zoom=0.12,
            erase_probability=0.4,
            erase_area=(0.02, 0.3),
            recolour_probability=0.6,
            brightness=0.3,
            contrast=0.2,
            saturation=0.3,
            hue=0.02,
        ),
        objective=replace(taught.objective, imitation=ANCHOR_WEIGHT, relation=0.0),
    )


def _precision() -> Precision:
    """bfloat16 where it saves time and is safe.

    With avx512_bf16 a step of Res2 takes 0.4 of the time. PyTorch 2.13 uses AMX where there is
    some, and small batches of small crops became NaN.
    """
    unsafe = torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bf16-mixed" if bfloat16.saves_time("cpu") and not unsafe else "32-true"
