"""Holes: values that a scenario leaves open, and how each is read.

``{any: [3, 5]}`` is one of these, ``{between: [1s, 6s]}`` a value in a range, ``{maybe: 2s}`` this value or
none. (``random``, a list of steps to be composed, is in `chaos.scenario`: only ``faults`` may hold it.)
A drawing fills every hole; the mildest value comes first, for Hypothesis shrinks toward it.

Here are also the strict base of all models and the one way in which their validators report what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, Tag, model_validator
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from chaos import units

T = TypeVar("T")

HOLE_WORDS = ("any", "between", "maybe")
MOST_CHOICES = 64


def wrong(
    expected: str, *, words: Sequence[str] = (), at: Sequence[str | int] = (), found: str = ""
) -> PydanticCustomError:
    """What validators raise. The message is made by `chaos.scenario`, which knows the position.

    ``words`` are the valid words of which the nearest is proposed; ``at`` leads from the value that was
    validated to the part that is wrong; ``found`` replaces the value found there.
    """
    context = {"expected": expected, "words": list(words), "at": list(at), "found": found}
    return PydanticCustomError("scenario", "expected {expected}", context)


def word(expected: str, words: Sequence[str]) -> PlainValidator:
    """The annotation of a word out of a closed list."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise wrong(f"{expected}: {', '.join(words)}", words=words)
        return value

    return PlainValidator(read, json_schema_input_type=Literal[tuple(words)])


class Spec(BaseModel):
    """A strict, frozen mapping of a scenario file: an unknown key is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def file_keys(cls) -> list[str]:
        """The keys as they stand in a file."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def expanded(cls, value: object) -> object:
        """The mapping that a short form stands for; what is no short form comes back as it is."""
        return value

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        keys = cls.file_keys()
        value = cls.expanded(value)
        if not isinstance(value, dict):
            raise wrong(f"a mapping with the keys {', '.join(keys)}")
        for key in value:
            if key in HOLE_WORDS and key not in keys:
                raise wrong(
                    f"a mapping with the keys {', '.join(keys)}: no hole may stand here",
                    found=f"the hole `{key}`",
                )
            if key not in keys:
                raise wrong(
                    f"one of the keys {', '.join(keys)}",
                    words=keys,
                    at=(key,),
                    found=f"an unknown key {key!r}",
                )
        return value


class AnyOf(Spec, Generic[T]):
    """Pick one of these. The first is the mildest: shrinking goes toward it."""

    any: list[T] = Field(min_length=1, max_length=MOST_CHOICES)
    """The choices, mildest first."""


class Between(Spec, Generic[T]):
    """A value in this range, both ends included. Shrinking goes toward the low end."""

    between: list[T] = Field(min_length=2, max_length=2)
    """The low and the high end."""

    @model_validator(mode="after")
    def _low_end_first(self) -> "Between[T]":
        low, high = self.between
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise wrong("the low end first", at=("between",))
        return self


class Maybe(Spec, Generic[T]):
    """This value, or none: then the key's default holds, or the step is left out. Shrinking leaves it out."""

    maybe: T
    """The value."""


def tag(value: object) -> str:
    """Which member of `Open` a value is: ``=value``, ``=any``, ``=between`` or ``=maybe``."""
    for hole, word in ((AnyOf, "any"), (Between, "between"), (Maybe, "maybe")):
        if isinstance(value, hole) or (isinstance(value, dict) and word in value):
            return f"={word}"
    return "=value"


def _tag_given(value: object) -> str:
    found = tag(value)
    return "=value" if found == "=maybe" else found


def _tag_choice(value: object) -> str:
    found = tag(value)
    return "=value" if found == "=between" else found


def _tag_pick(value: object) -> str:
    found = tag(value)
    return found if found == "=any" else "=value"


# The tags begin with "=" so that they are never taken for keys of the file.
Open = TypeAliasType(
    "Open",
    Annotated[
        Annotated[T, Tag("=value")]
        | Annotated[AnyOf[T], Tag("=any")]
        | Annotated[Between[T], Tag("=between")]
        | Annotated[Maybe[T], Tag("=maybe")],
        Discriminator(tag),
    ],
    type_params=(T,),
)
"""A value or a hole of any kind; ``between`` needs values that have an order."""

Given = TypeAliasType(
    "Given",
    Annotated[
        Annotated[T, Tag("=value")]
        | Annotated[AnyOf[T], Tag("=any")]
        | Annotated[Between[T], Tag("=between")],
        Discriminator(_tag_given),
    ],
    type_params=(T,),
)
"""A value or a hole that always gives one; ``between`` needs values that have an order."""

Choice = TypeAliasType(
    "Choice",
    Annotated[
        Annotated[T, Tag("=value")] | Annotated[AnyOf[T], Tag("=any")] | Annotated[Maybe[T], Tag("=maybe")],
        Discriminator(_tag_choice),
    ],
    type_params=(T,),
)
"""A value or a hole, for values that have no order."""


Pick = TypeAliasType(
    "Pick",
    Annotated[
        Annotated[T, Tag("=value")] | Annotated[AnyOf[T], Tag("=any")],
        Discriminator(_tag_pick),
    ],
    type_params=(T,),
)
"""A value or a choice among values, where something must stand."""


def closed(value: "T | AnyOf[T] | Between[T] | Maybe[T]") -> T:
    """The value where every hole is filled."""
    assert not isinstance(value, AnyOf | Between | Maybe), f"still open: {value}"
    return value


def is_hole(value: object) -> bool:
    """Whether a model's value is open."""
    return isinstance(value, AnyOf | Between | Maybe)


def choices(value: object, default: object = None) -> list[Any]:
    """Every value that may come out, for ranges their two ends; ``default`` stands for an absent `Maybe`."""
    match value:
        case AnyOf():
            return list(value.any)
        case Between():
            return list(value.between)
        case Maybe():
            return [default, value.maybe]
        case _:
            return [value]


def lowest(value: object, default: int = 0) -> int:
    """The least integer that may come out of an open integer."""
    return min(int(choice) for choice in choices(value, default))


def highest(value: object, default: int = 0) -> int:
    """The greatest integer that may come out of an open integer."""
    return max(int(choice) for choice in choices(value, default))


@dataclass(frozen=True)
class Quantity(Generic[T]):
    """Annotates an integer that files write as text with a unit, and bounds it."""

    parse: Callable[[object], T]
    pattern: str
    low: str
    high: str

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        """Text in, integer out, and back."""
        least, most = self.parse(self.low), self.parse(self.high)
        assert isinstance(least, int)
        assert isinstance(most, int)

        def read(value: object) -> T:
            try:
                quantity = self.parse(value)
            except units.UnitError as error:
                raise wrong(error.expected) from None
            assert isinstance(quantity, int)
            if not least <= quantity <= most:
                raise wrong(f"from {self.low} to {self.high}")
            return quantity

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """What an editor checks: the form, not the bounds."""
        return {"type": "string", "pattern": self.pattern, "description": f"From {self.low} to {self.high}."}


def duration(low: str, high: str) -> Quantity[units.Duration]:
    """The annotation of a duration from ``low`` to ``high``."""
    return Quantity(units.parse_duration, units.DURATION_PATTERN, low, high)


def rate(low: str, high: str) -> Quantity[units.Rate]:
    """The annotation of a rate from ``low`` to ``high``."""
    return Quantity(units.parse_rate, units.RATE_PATTERN, low, high)


def byte_rate(low: str, high: str) -> Quantity[units.ByteRate]:
    """The annotation of a bandwidth from ``low`` to ``high``."""
    return Quantity(units.parse_byte_rate, units.BYTE_RATE_PATTERN, low, high)


def share(low: str, high: str) -> Quantity[units.Share]:
    """The annotation of a share from ``low`` to ``high``."""
    return Quantity(units.parse_share, units.SHARE_PATTERN, low, high)
