"""Names the space that an exit's embeddings lie in, by what it was trained against.

That is another network whose space it was taught, or else its classifier.

Exits 1 to 4 of Fig. 1 that learn against one classifier learn one meaning of every direction, so
that their embeddings can be compared by cosine. Exits with classifiers of their own cannot.
"""

import hashlib

import numpy as np

from adln.manifest import SPACE_DIGITS
from adln.model.network import ADLN


def name_space(network: ADLN, depth: int) -> str:
    """The name of an exit's space: two exits share it if they were trained against the same.

    Args:
        network: any whose exit at this depth carries its trained classifier.
        depth: 1 to 4, one of the network's exits.

    Returns:
        The name in the network's architecture; without one, the first 16 hex digits of the
        SHA-256 over the classifier (K, D), as contiguous little-endian float32.
    """
    if network.architecture.space:
        return network.architecture.space
    classifier = network.get_parameter(f"exits.{depth}.classifier.weight")
    numbers = np.ascontiguousarray(classifier.detach().cpu().float().numpy(), dtype="<f4")
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:SPACE_DIGITS]
