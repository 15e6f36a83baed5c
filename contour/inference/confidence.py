"""How sure a network is of each structure: the Dice that it expects of its own drawing."""

import numpy as np
from numpy.typing import NDArray

from contour.inference.package import Label, Manifest


class ExpectedDice:
    """Sums over the network's planes: probability everywhere, probability inside, and voxels inside, per structure."""

    def __init__(self, manifest: Manifest, labels: tuple[Label, ...]) -> None:
        self._thresholds = {label.channel: label.threshold for label in labels}
        self._channels = {label.channel: manifest.channels(label) for label in labels}
        self._sums = {label.channel: np.zeros(3) for label in labels}

    def feed(self, logits_cyx: NDArray[np.float32]) -> None:
        """The next plane of logits (channels, y, x)."""
        if all(threshold is None for threshold in self._thresholds.values()):
            self._feed_softmax(logits_cyx)
        else:
            self._feed_sigmoid(logits_cyx)

    def of(self, label: Label) -> float:
        """2 x (probability inside) / (probability everywhere + voxels inside), from 0 to 1; 0 if nothing is inside."""
        everywhere, inside, voxels = self._sums[label.channel]
        return float(2 * inside / (everywhere + voxels)) if voxels else 0.0

    def _feed_softmax(self, logits_cyx: NDArray[np.float32]) -> None:
        greatest = logits_cyx.max(axis=0)
        probability = np.exp(logits_cyx - greatest)
        probability /= probability.sum(axis=0)
        for channel, together in self._channels.items():
            winner = logits_cyx[channel] == greatest
            shared = probability[channel]
            for other in together[1:]:
                winner = winner | (logits_cyx[other] == greatest)
                shared = shared + probability[other]
            self._sums[channel] += _sums(shared, winner)

    def _feed_sigmoid(self, logits_cyx: NDArray[np.float32]) -> None:
        for channel, threshold in self._thresholds.items():
            with np.errstate(over="ignore"):  # beyond a logit of -88 the probability is 0, as it should be
                probability = 1 / (1 + np.exp(-logits_cyx[channel]))
            self._sums[channel] += _sums(probability, probability >= threshold)


def _sums(probability_yx: NDArray[np.float32], inside_yx: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside = probability_yx[inside_yx]
    return np.array([probability_yx.sum(dtype=np.float64), inside.sum(dtype=np.float64), inside.size])
