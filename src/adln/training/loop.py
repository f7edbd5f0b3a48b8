"""The training loop (Sec. III.B of the paper).

A run may stop after any step and resume with the same weights as if it had not been interrupted:
weights, moments and position are stored, random numbers depend on the step.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import adln
from adln.errors import CheckpointError, TrainingError
from adln.losses.center import ClassCenters, build_center_optimiser
from adln.losses.objective import ObjectiveWeights, objective
from adln.model import bfloat16
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.exits import FEATURE_DIM, stretch_rows
from adln.model.imagenet import load_imagenet
from adln.model.network import ADLN, Architecture, build_network
from adln.training.augmentation import Draws, compose, draw, erase, pick, recolour
from adln.training.averaging import averaged_copy, averaged_network
from adln.training.data import TrainingData
from adln.training.imitation import Imitators
from adln.training.lesson import Lesson, PersonLesson, look
from adln.training.logbook import Logbook
from adln.training.recipe import Recipe
from adln.training.sampler import epoch_batches
from adln.training.schedule import learning_rate
from adln.training.state import Position, check_identity, read_state, write_state
from adln.training.stopping import StopCheck, never
from adln.training.teacher import LiveTeacher, Teacher

NETWORK_FILE = "network.safetensors"
STATE_FILE = "state.safetensors"
LOOK_EVERY_STEPS = 10  # the device is read back this often: for progress and for NaN
SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class Progress:
    """Progress of a run: `epoch` of `epochs`, from 1, and how many of its `steps` are done.

    `images_per_s` is the speed of all processes over the last steps, `remaining_s` the time until
    the last epoch ends at this speed; `losses` are means over this epoch so far by part of the
    objective, "total" among them.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float
    remaining_s: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """Result of a call of `train`.

    `reason` says why it stopped early ("" if it finished), `start` where the weights come from (""
    if all are random or the run was resumed); `network_path` exists if `finished`.
    """

    finished: bool
    reason: str
    network_path: Path
    start: str
    position: Position


class StepModule(nn.Module):
    """Network, centres and objective as one module, so that one forward pass gives the losses."""

    def __init__(
        self,
        network: ADLN,
        centers: ClassCenters,
        weights: ObjectiveWeights,
        imitators: Imitators | None = None,
        lesson: Lesson | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.centers = centers
        self.weights = weights
        self.imitators = imitators
        self.lesson = lesson

    def forward(
        self,
        crops: Tensor,
        labels: Tensor,
        epoch: int,
        teacher_embeddings: Tensor | None = None,
        indices: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch of N uint8 crops (N, 3, H, W): "total" and each part.

        Only the first B have labels (B,). Of all there are embeddings (N, T) by another network, if
        it is imitated, and `indices` (N,) in the data, for the lesson. The epoch counts from 1.
        """
        exits = self.network(crops).exits
        predictions = None
        if teacher_embeddings is not None:
            predictions = (
                {depth: output.embedding for depth, output in exits.items()}
                if self.imitators is None
                else self.imitators(exits)
            )
        labelled = exits
        if len(labels) < len(crops):
            labelled = {depth: output.first(len(labels)) for depth, output in exits.items()}
        cosines = None
        if self.weights.margin_identity:
            cosines = {
                depth: self.network.identity_cosines(depth, output.embedding)
                for depth, output in labelled.items()
            }
        result = objective(
            labelled,
            labels,
            self.centers(),
            weights=self.weights,
            epoch=epoch,
            predictions=predictions,
            teacher_embeddings=teacher_embeddings,
            cosines=cosines,
        )
        if self.lesson is None or indices is None:
            return {"total": result.total, **result.parts}
        seen = labelled if self.lesson.needs_labels else exits
        rows = {depth: output.embedding for depth, output in seen.items()}
        taught = self.lesson(rows, indices[: len(labels)] if self.lesson.needs_labels else indices)
        total = result.total + self.lesson.weight * taught
        return {"total": total, **result.parts, "lesson": taught.detach()}


def build_fabric(recipe: Recipe, *, device: str = "auto") -> Fabric:
    """The engine on "auto", "cpu" or "cuda": one device, or the processes started by torchrun.

    Its precision is that of the recipe, but float32 where bfloat16 would cost time instead.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // processes
    several = processes * nodes > 1
    return Fabric(
        accelerator=device,
        devices=processes,
        num_nodes=nodes,
        strategy="ddp" if several else "auto",
        precision=recipe.precision if bfloat16.saves_time(device) else "32-true",
    )


def train(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    fabric: Fabric,
    teacher: LiveTeacher | None = None,
    lesson: Lesson | None = None,
    provenance: Mapping[str, Any] | None = None,
    should_stop: StopCheck = never,
    on_start: Callable[[str, Position], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train from the start, or resume the run in the folder.

    Args:
        recipe: everything that determines the weights, except the data.
        data: crops of the recipe's size.
        folder: state, log and TensorBoard curves; at the end the network instead of the state.
        fabric: from `build_fabric`.
        teacher: embeds crops, in place of the file named by `recipe.teacher_network`.
        lesson: additional loss term; only with a single process.
        provenance: stored with the network; a run that is resumed keeps what it began with.
        should_stop: asked after each step.
        on_start: called with the origin of the weights and the position of the run.
        on_progress: called every few steps.

    Raises:
        TrainingError: the loss is not finite, or the recipe imitates a network and the data have no
            embeddings of it.
        CheckpointError: ImageNet weights or the stored state cannot be used; the disk is full.
        DatasetError: fewer persons than a batch needs.
    """
    fabric.launch()
    network_path, state_path = folder / NETWORK_FILE, folder / STATE_FILE
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "data": data.fingerprint,
        "pictures": data.pictures,
        "processes": fabric.world_size,
    }
    if recipe.teacher_network.path and teacher is None:
        teacher = Teacher(recipe.teacher_network, bf16=recipe.precision != "32-true")
    if teacher is not None:
        identity["teacher"] = teacher.digest
    teacher_dim = _teacher_dim(recipe, data, teacher)
    architecture = recipe.architecture(
        data.num_classes,
        teacher_dim=teacher_dim,
        teacher_space=data.teacher_space if teacher is None else teacher.space,
    )
    if recipe.objective.camera_contrast:
        lesson = _person_lesson(recipe, data, architecture.embedding_dim)
    if lesson is not None:
        if fabric.world_size > 1:
            raise TrainingError(
                "a lesson, or objective.camera_contrast, needs a single process: no torchrun"
            )
        identity["lesson"] = dict(lesson.identity)
    if network_path.is_file():
        check_identity(network_path, read_provenance(network_path).get("run", {}), identity)
        return Outcome(True, "", network_path, "", Position(recipe.schedule.epochs + 1))

    fresh = not state_path.is_file()
    network, start = _build(recipe, architecture, fresh=fresh)
    generator = torch.Generator().manual_seed(recipe.seed)
    with_centers = recipe.objective.center > 0
    centers = ClassCenters(
        recipe.network.exits if with_centers else (),
        data.num_classes,
        FEATURE_DIM,
        generator=generator,
    )
    imitators = None
    if teacher_dim is not None and not recipe.network.teacher_space:
        imitators = Imitators(recipe.network.exits, teacher_dim, seed=recipe.seed)
    bare = StepModule(network, centers, recipe.objective, imitators, lesson)
    bare.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    optimiser = kind(
        [
            parameter
            for part in (network, imitators or nn.Module())
            for parameter in part.parameters()
            if parameter.requires_grad
        ],
        lr=recipe.schedule.base_lr,
        weight_decay=recipe.weight_decay,
        fused=fabric.device.type == "cuda",
    )
    average = averaged_copy(network, recipe.average_decay) if recipe.average_decay else None
    stored = nn.ModuleList([bare] if average is None else [bare, average])
    optimisers: list[torch.optim.Optimizer] = [optimiser]
    if with_centers:
        optimisers.append(build_center_optimiser(centers, weight=recipe.objective.center))
    position = Position()
    if not fresh:
        position = read_state(state_path, module=stored, optimiser=optimiser, identity=identity)
        provenance = position.provenance or provenance
    if recipe.compile:
        network.compile()
    module, *wrapped = fabric.setup(bare, *optimisers)
    if on_start is not None and fabric.is_global_zero:
        on_start(start, position)

    pixels = torch.from_numpy(data.crops).to(fabric.device)  # (N, H, W, 3)
    labels = torch.from_numpy(data.labels).to(fabric.device)  # (N,)
    stored_embeddings = None
    if teacher_dim is not None and teacher is None:
        stored_embeddings = torch.from_numpy(data.teacher_embeddings).to(fabric.device)
    lesson_pixels = pixels
    if lesson is not None and lesson.needs_labels:
        lesson_pixels = pixels[: data.labelled]
    size_px = recipe.batch.height_px, recipe.batch.width_px
    epochs = recipe.schedule.epochs
    unlabelled = recipe.batch.unlabelled
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    trained_before_s = position.seconds

    def save(at: Position) -> Position:
        """Write the state from the first process; the others wait for it."""
        at = replace(at, seconds=trained_before_s + time.monotonic() - begun, provenance=provenance)
        if fabric.is_global_zero:
            write_state(state_path, at, module=stored, optimiser=optimiser, identity=identity)
        fabric.barrier()
        return at

    council = _Council(fabric)
    first_epoch = position.epoch
    bare.train()
    network.freeze(recipe.network.frozen_depth)
    if recipe.network.frozen_statistics:
        for part in network.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
    with Logbook(folder, first_epoch=first_epoch, enabled=fabric.is_global_zero) as logbook:
        saved_at = time.monotonic()
        for epoch in range(first_epoch, epochs + 1):
            batches = epoch_batches(
                data.labels,
                persons=recipe.batch.persons,
                crops=recipe.batch.crops,
                seed=recipe.seed,
                epoch=epoch,
                rank=fabric.global_rank,
                world_size=fabric.world_size,
                unlabelled=unlabelled,
            )
            done = position.step
            with fabric.autocast():
                begins = None if done else lesson
                look_s = look(begins, network, lesson_pixels, lambda each: _resize(each, size_px))
            sums = _Sums(position.sums or {}, state_path)
            looked_at, looked_step = time.monotonic(), done
            for step in range(done, len(batches)):
                rate = learning_rate(recipe.schedule, epoch, step / len(batches))
                for group in optimiser.param_groups:
                    group["lr"] = rate
                batch, seed = batches[step], (recipe.seed, epoch, step, fabric.global_rank)
                draws = draw(len(batch), *size_px, recipe.augmentation, seed, unlabelled=unlabelled)
                indices = _to_device(torch.tensor(batch), fabric.device)
                values = _to_device(torch.from_numpy(draws.values), fabric.device)
                crops = _vary(pixels, indices, values, draws, unlabelled)  # (B, 3, H, W) uint8
                embeddings = None
                if teacher is not None:
                    embeddings = teacher(_resize(crops, teacher.crop_size))  # (B, T)
                elif stored_embeddings is not None:
                    embeddings = stored_embeddings[indices]
                crops = erase(_resize(crops, size_px), values)
                known = labels[indices[: len(indices) - unlabelled]]
                losses = module(crops, known, epoch, embeddings, indices)
                fabric.backward(losses["total"])
                for each in wrapped:
                    each.step()
                    each.zero_grad(set_to_none=True)
                if average is not None:
                    average.update_parameters(network)
                sums.add(losses)
                position = replace(position, epoch=epoch, step=step + 1)

                last = step + 1 == len(batches)
                if last or (step + 1) % LOOK_EVERY_STEPS == 0:
                    means = sums.means(epoch, step + 1)
                    now = time.monotonic()
                    speed = (step + 1 - looked_step) / max(now - looked_at, 1e-9)
                    looked_at, looked_step = now, step + 1
                    images_per_s = speed * len(batch) * fabric.world_size
                    if on_progress is not None and fabric.is_global_zero:
                        left = (epochs - epoch + 1) * len(batches) - step - 1
                        left_s = left / speed + look_s * (epochs - epoch)
                        done_of = (epoch, epochs, step + 1, len(batches))
                        on_progress(Progress(*done_of, images_per_s, left_s, means))
                    if last:
                        row = {"learning_rate": rate, "images_per_s": images_per_s, **means}
                        logbook.add(epoch, row)
                        position = Position(epoch + 1, 0, position.seconds)
                is_due = time.monotonic() - saved_at > SAVE_EVERY_S
                reason, is_due = council.agree(should_stop(), is_due)
                if reason is not None or is_due:
                    if not last:
                        position = replace(position, sums=sums.read(epoch, step + 1))
                    position = save(position)
                    saved_at = time.monotonic()
                if reason is not None and position.epoch <= epochs:
                    return Outcome(False, reason, network_path, start, position)

    if fabric.is_global_zero:
        save_network(
            network_path,
            network if average is None else averaged_network(average),
            provenance={**(provenance or {}), "version": adln.__version__, "run": identity},
        )
        state_path.unlink(missing_ok=True)
    fabric.barrier()
    return Outcome(True, "", network_path, start, position)


class _Sums:
    """Sums of the losses over an epoch, kept on the device until they are read."""

    def __init__(self, before: Mapping[str, float], state_path: Path) -> None:
        self._before = dict(before)
        self._state_path = state_path
        self._names: list[str] = []
        self._sum: Tensor | None = None

    def add(self, losses: Mapping[str, Tensor]) -> None:
        self._names = list(losses)
        # float64, so that an interrupted and an uninterrupted run give equal sums.
        values = torch.stack([value.detach() for value in losses.values()]).double()
        self._sum = values if self._sum is None else self._sum + values

    def read(self, epoch: int, step: int) -> dict[str, float]:
        if self._sum is None:
            return dict(self._before)
        sums = dict(zip(self._names, self._sum.tolist(), strict=True))
        broken = [name for name, value in sums.items() if not math.isfinite(value)]
        if broken:
            is_kept = self._state_path.is_file()
            kept = f"The previous state is kept in {self._state_path}. " if is_kept else ""
            raise TrainingError(
                f"the loss is no longer a number in epoch {epoch}, by step {step}: "
                f"{', '.join(broken)}. {kept}Lower schedule.base_lr, "
                'set precision = "32-true" or compile = false, or check the data with '
                "`adln data check --decode`."
            )
        return {name: value + self._before.get(name, 0.0) for name, value in sums.items()}

    def means(self, epoch: int, step: int) -> dict[str, float]:
        return {name: value / step for name, value in self.read(epoch, step).items()}


def _vary(pixels: Tensor, indices: Tensor, values: Tensor, draws: Draws, unlabelled: int) -> Tensor:
    """The augmentation except erasing, which the teacher does not see; (B, 3, H, W) uint8."""

    def on_device(array: NDArray[np.float32]) -> Tensor:
        return _to_device(torch.from_numpy(array), pixels.device)

    crops = pick(pixels, indices, values, None if draws.zooms is None else on_device(draws.zooms))
    if draws.colours is not None and draws.contrasts is not None:
        crops = recolour(crops, on_device(draws.colours), on_device(draws.contrasts))
    if draws.cuts is not None:
        crops = compose(crops, on_device(draws.cuts), unlabelled)
    return crops


def _resize(crops: Tensor, size_px: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) uint8 -> the same at another size, in channels_last memory."""
    if tuple(crops.shape[2:]) == size_px:
        return crops
    resized = F.interpolate(crops.float(), size=size_px, mode="bilinear", antialias=True)
    resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    return resized.contiguous(memory_format=torch.channels_last)


def _person_lesson(recipe: Recipe, data: TrainingData, dim: int) -> PersonLesson:
    """What `objective.camera_contrast` asks for, with embeddings of `dim` dimensions."""
    if data.cameras is None:
        raise TrainingError("objective.camera_contrast has a weight, but the data have no cameras")
    return PersonLesson(
        data.labels[: data.labelled],
        data.cameras[: data.labelled],
        dim=dim,
        weight=recipe.objective.camera_contrast,
    )


def _teacher_dim(recipe: Recipe, data: TrainingData, teacher: LiveTeacher | None) -> int | None:
    """T, length of the teacher's embeddings; None without a teacher."""
    if not recipe.objective.imitates:
        return None
    if teacher is not None:
        return teacher.dim
    if data.teacher_embeddings is None:
        raise TrainingError(
            "objective.imitation has a weight, but the data have no teacher embeddings"
        )
    dim: int = data.teacher_embeddings.shape[1]
    return dim


def _build(recipe: Recipe, architecture: Architecture, *, fresh: bool) -> tuple[ADLN, str]:
    """The network of a recipe with its initial weights, unless a state follows."""
    chosen = recipe.network
    network = build_network(architecture, seed=recipe.seed)
    trained = load_network(Path(chosen.start_from)) if fresh and chosen.start_from else None
    grows = trained is not None and not set(chosen.exits) <= set(trained.architecture.exits)
    start = None
    if fresh and chosen.imagenet and (trained is None or grows):
        start = load_imagenet(network, chosen.imagenet, sha256=chosen.imagenet_sha256 or None)
    said = []
    if trained is not None:
        taken = _copy_weights(trained, network, recipe)
        start = None if start is None else start.except_for(taken)
        said.append(_start_summary(chosen.start_from, trained, network, taken))
    if start is not None:
        said.append(start.summary())
    if chosen.shared_classifier:
        network.share_classifier()
    if chosen.teacher_space:
        # Train the bias: the mean of a teacher's embeddings need not be zero.
        for depth in network.architecture.built_exits:
            network.get_parameter(f"exits.{depth}.bnneck.bias").requires_grad_(True)
    network.freeze(chosen.frozen_depth)
    return network, "\n".join(said)


def _start_summary(path: str, trained: ADLN, network: ADLN, taken: Collection[str]) -> str:
    own, theirs = network.architecture, trained.architecture
    common = ", ".join(map(str, sorted({*own.exits} & {*theirs.exits})))
    text = f"start from {path}: stages and exits {common}"
    if theirs.row_weights and own.height_px != theirs.height_px:
        text += f", their row weights resampled for crops {own.height_px} px high"
    if not any(name.endswith("classifier.weight") for name in taken):
        text += f"; not its classifiers, which are for {theirs.num_classes:,} persons in "
        text += f"{theirs.embedding_dim} dimensions: they start at random"
    return text


def _copy_weights(trained: ADLN, network: ADLN, recipe: Recipe) -> Collection[str]:
    """Copy what fits of a trained network of the same architecture; returns the tensors copied."""
    chosen, own, theirs = recipe.network, network.architecture, trained.architecture
    # The classifiers, and what was fitted after the training, may differ.
    same_form = replace(
        theirs,
        num_classes=own.num_classes,
        embedding_dim=own.embedding_dim,
        summed_exits=own.summed_exits,
        space=own.space,
        exits=own.exits,
        height_px=own.height_px,
        width_px=own.width_px,
        row_weights=theirs.row_weights or own.row_weights,
        instance_norm=own.instance_norm,
    )
    common = set(own.exits) & set(theirs.exits)
    lacking = sorted(set(range(1, chosen.frozen_depth + 1)) & set(own.exits) - common)
    if theirs.depth < own.depth:  # too shallow to have attention
        same_form = replace(same_form, attention=own.attention)
    if same_form != own or not common:
        raise CheckpointError(
            f"network.start_from: {chosen.start_from} is {theirs}, this recipe trains {own}. "
            "They may differ only in the persons, the crop size and the exits, and must share at "
            "least one exit."
        )
    if lacking or theirs.depth < chosen.frozen_depth:
        raise CheckpointError(
            f"network.start_from: {chosen.start_from} has exits {list(theirs.exits)}, so exits "
            f"and stages up to network.frozen_depth = {chosen.frozen_depth} cannot be kept. "
            "Choose another network or a smaller frozen_depth."
        )
    if chosen.frozen_depth and (
        theirs.num_classes != own.num_classes or theirs.embedding_dim != own.embedding_dim
    ):
        raise CheckpointError(
            f"network.start_from: {chosen.start_from} has {theirs.num_classes} persons in "
            f"{theirs.embedding_dim} dimensions, this recipe {own.num_classes} in "
            f"{own.embedding_dim}, so its exits cannot be frozen. Set frozen_depth = 0, or use the "
            "network as written by `adln train`, and its training data."
        )
    state, taken = network.state_dict(), {}
    for name, tensor in trained.state_dict().items():
        if name in state and name.endswith("row_weights"):
            tensor = stretch_rows(tensor, state[name].shape[1])
        if name in state and tensor.shape == state[name].shape:
            taken[name] = tensor
    network.load_state_dict({**state, **taken})
    return taken


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


class _Council:
    """Makes all processes stop and save after the same step, without synchronising devices."""

    def __init__(self, fabric: Fabric) -> None:
        several = fabric.world_size > 1
        self._group = torch.distributed.new_group(backend="gloo") if several else None

    def agree(self, reason: str | None, is_due: bool) -> tuple[str | None, bool]:
        if self._group is None:
            return reason, is_due
        wishes = torch.tensor([reason is not None, is_due], dtype=torch.uint8)
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX, group=self._group)
        stops, saves = wishes.bool().tolist()
        return (reason or "another process was asked to stop") if stops else None, saves
