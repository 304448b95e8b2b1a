"""What families have in common about jobs: StartAsyncInvoke's input, and what its result files say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from embedrock.catalog import ModelSpec
from embedrock.families.parameters import Wanted
from embedrock.inputs import Item
from embedrock.vectors import Array, Segment


@dataclass(frozen=True, slots=True)
class Failure:
    """A part of an input, or all of it (no segment), that the model could not embed; the reason in Bedrock's words."""

    reason: str
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The vectors of one job, not checked yet, and the segment of each; None: the vector is of the whole input."""

    vectors: list[Array] = field(default_factory=list)
    segments: list[Segment | None] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the input is, as far as its segments tell."""
        ends = (segment.end_sec for segment in self.segments if segment and segment.end_sec is not None)
        return max(ends, default=0.0)


#: The body of a job for one item.
BuildInput = Callable[[ModelSpec, Item, Wanted], bytes]
#: The other files that the first one names, by their URIs.
NameFiles = Callable[[bytes], Sequence[str]]
#: What the first file and the others, by the URIs it names them by, hold. Raises InvalidUpstream.
ReadFiles = Callable[[bytes, Mapping[str, bytes]], Found]


@dataclass(frozen=True, slots=True)
class Jobs:
    """What a family offers for jobs. Nothing here does any I/O.

    `inline`: kinds of input that may be in the body; all others have to be in S3.
    `is_slow`: whether an item needs a job, by what it is and what is asked for.
    `may_be_slow`: whether one that does not seem to need a job may turn out to, when Bedrock refuses it.
    `first_file`: in the folder of a job that is through.
    """

    build_input: BuildInput
    inline: frozenset[str]
    is_slow: Callable[[ModelSpec, Item, Wanted], bool]
    first_file: str
    name_files: NameFiles
    read: ReadFiles
    may_be_slow: Callable[[Item, Wanted], bool] = lambda item, wanted: False  # noqa: ARG005
