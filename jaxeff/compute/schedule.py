"""What a whole training costs: a sum over segments of steps that cost the same.

Image size, batch size or anything else that moves the cost of a step may change during a run; each
change begins a new segment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jaxeff.compute.units import paper_flops


@dataclass(frozen=True)
class Segment:
    """Steps of one cost, from `from_step` up to the next segment.

    Attributes:
      from_step: steps taken before the first step of the segment.
      flops_per_step: XLA's count of one step, in FLOPs.
      macs_forward_per_example: multiply-accumulates of one example's forward pass.
      batch_size: examples a step, over all devices.
      changes: what is different in this segment, such as `{"image_size": 128}`.
    """

    from_step: int
    flops_per_step: int
    macs_forward_per_example: int
    batch_size: int
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CostSchedule:
    """The cost of a run by step.

    Attributes:
      segments: in the order of their steps; the first begins at step 0.

    Raises:
      ValueError: there is no segment, the first does not begin at 0, or the steps do not rise.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self):
        starts = [segment.from_step for segment in self.segments]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"segments begin at steps {starts}: expected rising steps from 0")

    def train_flops(self, step: int) -> int:
        """FLOPs of the first `step` steps by XLA's count."""
        return sum(steps * segment.flops_per_step for segment, steps in self._taken(step))

    def examples(self, step: int) -> int:
        """Training examples of the first `step` steps."""
        return sum(steps * segment.batch_size for segment, steps in self._taken(step))

    def paper_flops(self, step: int) -> int:
        """Operations of the first `step` steps as the paper counts: 3 x forward MACs x examples."""
        return sum(
            round(paper_flops(segment.macs_forward_per_example, steps * segment.batch_size))
            for segment, steps in self._taken(step)
        )

    def segment_at(self, step: int) -> Segment:
        """The segment of the step that follows `step` steps."""
        return next(s for s in reversed(self.segments) if s.from_step <= step)

    def step_of(self, train_flops: float) -> float:
        """The number of steps, not always whole, after which `train_flops` are spent."""
        for segment, following in self._with_following():
            steps = (train_flops - self.train_flops(segment.from_step)) / segment.flops_per_step
            if following is None or segment.from_step + steps <= following.from_step:
                return segment.from_step + steps
        raise AssertionError("the last segment has no end")

    def _taken(self, step: int) -> Iterator[tuple[Segment, int]]:
        """Each segment with the number of its steps among the first `step`."""
        for segment, following in self._with_following():
            end = step if following is None else min(step, following.from_step)
            yield segment, max(0, end - segment.from_step)

    def _with_following(self) -> Iterator[tuple[Segment, Segment | None]]:
        return zip(self.segments, (*self.segments[1:], None), strict=True)
