"""Which namespaces may use an object of another: `allowedNamespaces` and `grants` (rule R14).

The shape is that of the Gateway API: `from: Same | All | Selector`, with a label selector over
namespaces. Only the owner of an object can give access to it; nothing is given by default beyond
the object's own namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from slackwater.api.field import DISTINCT, LIST_SET, LabelValue, QualifiedName, Rule, demand
from slackwater.wire import WireModel

NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"


class Operator(StrEnum):
    """How a label requirement reads its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_VALUES: Final = Rule(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "values goes with operator In or NotIn only: add values, or remove them for Exists and "
    "DoesNotExist",
)


class LabelRequirement(WireModel):
    """One requirement on one label."""

    rules = (_VALUES,)

    key: Annotated[QualifiedName, Field(description="The label's key.")]
    operator: Annotated[
        Operator,
        Field(
            description="How the label must relate to `values`: In and NotIn compare, Exists and "
            "DoesNotExist look at the key alone."
        ),
    ]
    values: Annotated[
        tuple[LabelValue, ...],
        Field(
            max_length=32,
            description="The values that In and NotIn compare with.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ] = ()

    @model_validator(mode="after")
    def _values_fit_operator(self) -> Self:
        demand((self.operator in {Operator.IN, Operator.NOT_IN}) == bool(self.values), _VALUES)
        return self

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it; NotIn holds also where the key is missing."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


_NOT_EMPTY: Final = Rule(
    "(has(self.matchLabels) && size(self.matchLabels) > 0) || "
    "(has(self.matchExpressions) && size(self.matchExpressions) > 0)",
    "a selector without matchLabels and matchExpressions would select everything: name at least "
    "one label",
)


class LabelSelector(WireModel):
    """A Kubernetes label selector: all of its requirements must hold."""

    rules = (_NOT_EMPTY,)

    match_labels: dict[QualifiedName, LabelValue] = Field(
        default_factory=dict,
        max_length=16,
        description="Labels that must be there with exactly these values.",
    )
    match_expressions: Annotated[
        tuple[LabelRequirement, ...],
        Field(max_length=16, description="Further requirements on labels."),
    ] = ()

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        demand(bool(self.match_labels or self.match_expressions), _NOT_EMPTY)
        return self

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.holds(labels) for requirement in self.match_expressions
        )

    def to_wire(self) -> dict[str, Any]:
        """The selector as Kubernetes writes it, for `Store.node_names`."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class From(StrEnum):
    """Where users may live."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


_SELECTOR: Final = Rule(
    "(self.from == 'Selector') == has(self.selector)",
    "selector goes with `from: Selector` only: add the selector, or remove it for Same and All",
)


class Namespaces(WireModel):
    """A choice of namespaces."""

    rules = (_SELECTOR,)

    from_: Annotated[
        From,
        Field(
            alias="from",
            description="Same: only the namespace of this object. All: every namespace. Selector: "
            "the namespaces whose labels the selector picks; this object's own namespace is then "
            "in only if it is picked too.",
        ),
    ] = From.SAME
    selector: Annotated[
        LabelSelector | None,
        Field(
            description="Labels of the namespaces that are meant. Every namespace carries the "
            "label kubernetes.io/metadata.name with its own name."
        ),
    ] = None

    @model_validator(mode="after")
    def _selector_fits_from(self) -> Self:
        demand((self.from_ is From.SELECTOR) == (self.selector is not None), _SELECTOR)
        return self


def grants_namespace(
    grant: Namespaces, owner_ns: str, user_ns: str, labels: Mapping[str, str]
) -> bool:
    """Whether `grant`, written on an object in `owner_ns`, lets objects in `user_ns` use it.

    Args:
        grant: the choice of namespaces.
        owner_ns: namespace of the object that carries the grant.
        user_ns: namespace of the object that refers to it.
        labels: labels of `user_ns`; its name is added, since a directory of manifests has none.
    """
    match grant.from_:
        case From.SAME:
            return owner_ns == user_ns
        case From.ALL:
            return True
        case From.SELECTOR:
            named = {**labels, NAMESPACE_NAME_LABEL: user_ns}
            return grant.selector is not None and grant.selector.selects(named)
