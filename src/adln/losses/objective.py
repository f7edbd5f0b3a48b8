"""The objective: the sum of all losses over all exits.

Sec. II.C, Eq. 10 of the paper.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adln.errors import SettingsError, TrainingError
from adln.losses.alignment import alignment_loss, relation_loss
from adln.losses.attention_transfer import attention_transfer_loss
from adln.losses.center import CENTER_WEIGHT, center_loss
from adln.losses.decoupled_distillation import decoupled_distillation_loss, warmup_factor
from adln.losses.identity import identity_loss, margin_identity_loss
from adln.losses.triplet import weighted_regularised_triplet_loss
from adln.model.exits import ExitOutput
from adln.settings import settings


@settings
class ObjectiveWeights:
    """Weights of the parts of the objective, and the few numbers that shape them.

    A part with weight 0 is not computed, so each can be left out alone, as in Table 2. Those that
    are not in the paper have weight 0 by default.

    Attributes:
        identity, triplet, center: weights of these losses of each exit.
        attention_transfer: weight of the attention transfer between neighbouring exits.
        distillation: weight of the distillation from the deepest exit into each other one.
        alignment: weight of the pull of each other exit's embedding towards the deepest's, for
            exits that share a space.
        imitation: weight of each exit's imitation of another network's embeddings; needs a teacher,
            see `adln.training.imitation`.
        relation: weight of each exit's imitation of that network's cosines between crops.
        margin_identity: weight of a second identity loss of each exit, with a margin of cosines.
        camera_contrast: weight of each exit's contrast with what each camera saw of each person,
            beside at least one other part; see `adln.training.lesson.PersonLesson`.
        label_smoothing: of the identity loss, 0 to less than 1.
        margin, margin_scale: of the cosines of the identity loss with a margin; scale above 0.
        distillation_alpha, distillation_beta: weights of the target class and of the others.
        distillation_temperature: more than 0.
        distillation_warmup_epochs: epochs in which distillation rises to its full weight.

    Raises:
        SettingsError: a value is out of its range.

    Source: Sec. II.C and III.B; what the paper leaves open is as in the public codes of its
        parts, see each loss.
    """

    identity: float = 1.0
    triplet: float = 1.0
    center: float = CENTER_WEIGHT
    attention_transfer: float = 1.0
    distillation: float = 1.0
    alignment: float = 0.0
    imitation: float = 0.0
    relation: float = 0.0
    margin_identity: float = 0.0
    camera_contrast: float = 0.0
    label_smoothing: float = 0.1
    margin: float = 0.35
    margin_scale: float = 30.0
    distillation_alpha: float = 1.0
    distillation_beta: float = 8.0
    distillation_temperature: float = 4.0
    distillation_warmup_epochs: int = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"{name} must be a number of at least 0, got {value}")
        if self.label_smoothing >= 1:
            raise SettingsError(f"label_smoothing must be less than 1, got {self.label_smoothing}")
        for name in ("distillation_temperature", "margin_scale"):
            if getattr(self, name) == 0:
                raise SettingsError(f"{name} must be more than 0, got 0")

    @property
    def imitates(self) -> bool:
        """Whether another network is imitated."""
        return self.imitation > 0 or self.relation > 0

    @property
    def needs_labels(self) -> bool:
        """Whether a part needs to know who is seen."""
        return any(
            (
                self.identity,
                self.margin_identity,
                self.triplet,
                self.center,
                self.distillation,
                self.camera_contrast,
            )
        )


@dataclass(frozen=True)
class ObjectiveResult:
    """The objective of a batch: a scalar with gradient, the weighted sum of its parts.

    `parts` are scalars without gradient, before weight and warm-up: "identity/1", "triplet/1",
    "center/1", "imitation/1", "relation/1" and "margin_identity/1" of each exit,
    "attention_transfer" of all pairs, "distillation/1" and "alignment/1" of each exit but the
    deepest.
    """

    total: Tensor
    parts: dict[str, Tensor]


def objective(
    exits: Mapping[int, ExitOutput],
    labels: Tensor,
    centers: Mapping[int, Tensor],
    *,
    weights: ObjectiveWeights,
    epoch: int,
    predictions: Mapping[int, Tensor] | None = None,
    teacher_embeddings: Tensor | None = None,
    cosines: Mapping[int, Tensor] | None = None,
) -> ObjectiveResult:
    """Sum of the losses of all exits, attention transfer and distillation.

    Attention is transferred between neighbours among the exits that are there; the deepest is the
    teacher of the distillation. With one exit there is neither. Nothing is read back from the
    device. What belongs to a loss of weight 0 is not looked at.

    Args:
        exits: depth -> what the exit says of the B labelled crops of a batch.
        labels: (B,) int64 identities, 0..K-1.
        centers: depth -> (K, D).
        weights: of the parts.
        epoch: counted from 1, for the warm-up of the distillation.
        predictions: depth -> (N, T) predicted of another network, for N crops, labelled or not.
        teacher_embeddings: (N, T) of that network.
        cosines: depth -> (B, K) of each embedding and each identity's direction.

    Raises:
        TrainingError: no part is left, as all that the exits allow have weight 0.

    Source: Sec. II.C, Eq. 10.
    Deviation: the centre loss has a weight, see `center_loss`. Eq. 10 has a single distillation
        term; here each exit but the deepest has one, as any of them may become the network that
        is deployed. Distillation starts with a warm-up, see `warmup_factor`.
    """
    depths = sorted(exits)
    students, teacher = depths[:-1], exits[depths[-1]]
    terms: list[tuple[str, float, Tensor]] = []
    for depth in depths:
        answer = exits[depth]
        if weights.identity:
            value = identity_loss(answer.logits, labels, label_smoothing=weights.label_smoothing)
            terms.append((f"identity/{depth}", weights.identity, value))
        if weights.margin_identity and cosines is not None:
            value = margin_identity_loss(
                cosines[depth], labels, margin=weights.margin, scale=weights.margin_scale
            )
            terms.append((f"margin_identity/{depth}", weights.margin_identity, value))
        if weights.triplet:
            value = weighted_regularised_triplet_loss(answer.feature, labels)
            terms.append((f"triplet/{depth}", weights.triplet, value))
        if weights.center:
            value = center_loss(answer.feature, labels, centers[depth])
            terms.append((f"center/{depth}", weights.center, value))
    if weights.attention_transfer and students:
        value = attention_transfer_loss([exits[depth].feature_map for depth in depths])
        terms.append(("attention_transfer", weights.attention_transfer, value))
    if weights.distillation:
        warmup = warmup_factor(epoch, weights.distillation_warmup_epochs)
        for depth in students:
            value = decoupled_distillation_loss(
                exits[depth].logits,
                teacher.logits,
                labels,
                alpha=weights.distillation_alpha,
                beta=weights.distillation_beta,
                temperature=weights.distillation_temperature,
            )
            terms.append((f"distillation/{depth}", warmup * weights.distillation, value))
    if weights.alignment:
        for depth in students:
            value = alignment_loss(exits[depth].embedding, teacher.embedding)
            terms.append((f"alignment/{depth}", weights.alignment, value))
    if predictions is not None and teacher_embeddings is not None:
        for name, weight, loss in (
            ("imitation", weights.imitation, alignment_loss),
            ("relation", weights.relation, relation_loss),
        ):
            for depth in depths if weight else ():
                value = loss(predictions[depth], teacher_embeddings)
                terms.append((f"{name}/{depth}", weight, value))
    if not terms:
        raise TrainingError(
            f"the objective has no part left for exits {depths} with {weights}; "
            "give at least one part that these exits allow a weight above 0"
        )
    total = torch.stack([weight * value for _, weight, value in terms]).sum()
    return ObjectiveResult(total, {name: value.detach() for name, _, value in terms})
