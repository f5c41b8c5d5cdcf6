"""JSON schemas of the Structs, in the form that generators of clients make the plainest types of.

The server reads more than is described here: a null where a field may be missing, one text where a list is expected,
an object where a query is. Each of these would be one more alternative in the types of every generated client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

Schema: TypeAlias = dict[str, Any]

PREFIX = "#/components/schemas/"

# What a string or an object is called: a generator names what has a name.
DOCUMENTS: Mapping[str, Schema] = {
    "Document": {
        "description": "The text of a document, or the document as an object.",
        "anyOf": [{"type": "string"}, {"$ref": f"{PREFIX}DocumentObject"}],
    },
    "DocumentObject": {
        "description": "A document with a `text`, with the fields of `rank_fields`, or with a `content` of text parts.",
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "additionalProperties": True,
    },
}
_OBJECT = {"$ref": f"{PREFIX}DocumentObject"}
_DOCUMENT = {"$ref": f"{PREFIX}Document"}


def of_requests(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """A reference for each type of a request, and the schemas of all names.

    What may be left out is optional and never null, and its default is said in words: a generator that finds a default
    makes the field a required one.
    """
    return _described(types, _request)


def of_responses(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """A reference for each type of a response, and the schemas of all names. Whatever is always sent is required."""
    return _described(types, _response)


def _described(types: Iterable[Any], simpler: Callable[[Schema], Schema]) -> tuple[list[Schema], dict[str, Schema]]:
    found, named = msgspec.json.schema_components(list(types), ref_template=PREFIX + "{name}")
    return [_simplified(one, simpler) for one in found], {
        name: _simplified(schema, simpler) for name, schema in named.items()
    }


def _simplified(schema: Schema, simpler: Callable[[Schema], Schema]) -> Schema:
    """Simplify a schema from its innermost parts outwards."""
    inner = dict(schema)
    if "items" in inner:
        inner["items"] = _named(_simplified(inner["items"], simpler))
    if "anyOf" in inner:
        inner["anyOf"] = [_simplified(one, simpler) for one in inner["anyOf"]]
    if "properties" in inner:
        inner["properties"] = {name: _simplified(one, simpler) for name, one in inner["properties"].items()}
    if inner.get("type") == "number":
        inner["format"] = "double"
    if "enum" in inner:
        inner["type"] = "string"
    if "description" in inner:  # it may be a docstring
        inner["description"] = inspect.cleandoc(inner["description"]).replace("``", "`")
    return simpler(inner)


def _request(schema: Schema) -> Schema:
    """A part of a request."""
    schema.pop("default", None)
    properties = schema.get("properties", {})
    for field in properties.values():
        if _is_text(field.get("anyOf", [])):
            del field["anyOf"]
            field["type"] = "string"
    if properties:  # those that have to be sent come first
        names = schema.pop("required")
        schema["properties"] = {name: properties[name] for name in names} | properties
        schema |= {"required": names} if names else {}
    alternatives = [one for one in schema.pop("anyOf", []) if one != {"type": "null"}]
    # One item may stand for a list of one.
    alternatives = [one for one in alternatives if one.get("type") == "array"] or alternatives
    if len(alternatives) == 1:
        return {**alternatives[0], **schema}
    return schema | ({"anyOf": alternatives} if alternatives else {})


def _response(schema: Schema) -> Schema:
    """A part of a response."""
    properties = schema.get("properties", {})
    # msgspec gives no default to what may be absent.
    always = [name for name, field in properties.items() if name in schema["required"] or "default" in field]
    for name, field in properties.items():
        field.pop("default", None)
        properties[name] = _named(field)
    return schema | ({"required": always} if properties else {})


def _named(schema: Schema) -> Schema:
    """Replace a text or an object, or an object that may be null, by the name of it."""
    alternatives = schema.get("anyOf", [])
    if _is_text(alternatives):
        return _DOCUMENT
    if {"type": "object"} in alternatives:
        return schema | {"anyOf": [_OBJECT if one == {"type": "object"} else one for one in alternatives]}
    return schema


def _is_text(alternatives: list[Schema]) -> bool:
    return len(alternatives) == 2 and {"type": "string"} in alternatives and {"type": "object"} in alternatives
