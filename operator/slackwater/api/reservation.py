"""`spec.reservations` of a GPUPool: GPUs that calendar events keep for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from slackwater.api.entries import Match
from slackwater.api.field import DISTINCT, LIST_SET, EntryName
from slackwater.core.expression import MAX_LENGTH as EXPRESSION_LIMIT
from slackwater.core.reserve import MOST_GPUS
from slackwater.wire import Namespace, ObjectRef, WireModel


def _gpus(value: object) -> int | str:
    """A number as it is; `{"$cel": expression}` as the expression's text."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_GPUS:
            raise ValueError(f"must be from 1 to {MOST_GPUS}")
        return value
    if isinstance(value, Mapping) and value.keys() == {"$cel"}:
        text = value["$cel"]
        if isinstance(text, str) and 0 < len(text) <= EXPRESSION_LIMIT:
            return text
    raise ValueError(
        'must be a number of GPUs, or an expression such as {"$cel": "event.parameters.gpus"}'
    )


class Reservation(WireModel):
    """Events of one calendar that keep GPUs of the pool for others."""

    name: Annotated[EntryName, Field(description="Name of this entry, unique in the list.")]
    calendar_ref: Annotated[
        ObjectRef,
        Field(
            description="The Calendar to read. One of another namespace must name the pool's "
            "namespace in its spec.allowedNamespaces. While it cannot be read, nothing starts in "
            "the pool."
        ),
    ]
    match: Annotated[
        Match,
        Field(
            description="Which events reserve; every event when left out. Only events that the "
            "calendar's owner made or accepted, or of match.organizers, do."
        ),
    ] = Match()
    gpus: Annotated[
        int | str,
        PlainValidator(_gpus),
        # No type: a number or an object is nothing that a structural schema can say.
        WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True}),
        Field(
            description="How many GPUs an event reserves: a number, or an object with the single "
            'key $cel, such as {"$cel": "event.parameters.gpus"}: a CEL expression over event. '
            "An event for which it gives no number reserves nothing and is reported."
        ),
    ]
    namespaces: Annotated[
        tuple[Namespace, ...],
        Field(
            max_length=64,
            description="Whom the GPUs are for. TrainingWindows of these namespaces are not held "
            "back, and what their pods use already counts towards the reservation.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ] = ()
