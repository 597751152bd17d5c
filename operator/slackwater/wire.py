"""The pieces that every resource's wire model is made of.

Models are what users write: camelCase, nothing unknown, a description on every field. pydantic is
used at the wire only; inside, everything is the frozen dataclasses of `slackwater.core`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from slackwater.core.spec import Ref


class WireModel(BaseModel):
    """Base of every wire model.

    `rules` are CEL rules for the CRD, as (expression, message) pairs; each one is also enforced
    in Python by the model's own validators, so that a directory of manifests is judged alike.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )
    rules: ClassVar[tuple[tuple[str, str], ...]] = ()


Name = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
]
Namespace = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
]
ZoneName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+\-/]+$")]
Url = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s]+$")]


class SecretKeyRef(WireModel):
    """One key of a Secret in the namespace of the object that names it."""

    name: Annotated[Name, Field(description="Name of the Secret, in this object's namespace.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="Key of the Secret whose value is meant.",
        ),
    ]


class ObjectRef(WireModel):
    """Another object of ours."""

    name: Annotated[Name, Field(description="Name of the object.")]
    namespace: Annotated[
        Namespace | None,
        Field(
            description="Namespace of the object; this one's when left out. Another namespace's "
            "object must grant its use."
        ),
    ] = None

    def resolve(self, home: str) -> Ref:
        """The reference with its namespace filled in."""
        return Ref(self.namespace or home, self.name)
