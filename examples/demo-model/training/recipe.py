"""The recipe: stages of training, each a constant rate and then a decay to nothing."""

import json
from dataclasses import dataclass, field
from pathlib import Path

RECIPE = Path(__file__).resolve().parent / "recipe.json"


@dataclass(frozen=True)
class Stage:
    """A stage starts from the weights of the one before, or from a mean of several, each as exported (bf16); heads and
    optimiser start anew."""
    name: str
    seed: int
    rates: tuple            # (pictures, factor on all learning rates): constant up to the first, then lines to the next
    start: dict = field(default_factory=dict)   # stage: share of its weights in the mean; empty: the stage before
    textEvery: int = 1      # only every n-th picture is asked about
    reading: float = 0.0    # share of scenes that are nothing but signs
    headsOnly: int = 0      # pictures at the start in which only the dense heads learn
    batch: int = 32
    part: int = 16          # pictures of which a process computes the gradient at once; small parts stay in the cache
    length: int = 160       # tokens of a row of questions

    def factor(self, images):
        """(factor on the learning rates, whether it decays)."""
        rate = self.rates[0][1]
        for (at, high), (end, low) in zip(self.rates, self.rates[1:]):
            if images > at:
                rate = high + (low - high) * min(1.0, (images - at) / (end - at))
        learnt = images - self.headsOnly
        warm = (learnt if learnt >= 0 else images) / self.batch + 1
        return min(1.0, warm / 80) * max(0.01 * self.rates[0][1], rate), images > self.rates[0][0]

    @property
    def images(self):
        """Pictures in all."""
        return self.rates[-1][0]


def read_recipe(path=RECIPE):
    recipe = json.loads(Path(path).read_text())
    return [Stage(seed=recipe["seed"] + i, **stage) for i, stage in enumerate(recipe["stages"])]
