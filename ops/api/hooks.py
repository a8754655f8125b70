"""The document as its server is held to it: stricter than clients are asked to be."""

import json

import schemathesis


@schemathesis.hook
def before_load_schema(context, document):
    """Later versions may add fields, so clients must ignore unknown ones; today there may be none."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)


@schemathesis.serializer("application/x-ndjson")
def json_lines(context, value):
    """Text as it is: no row of it is made from a schema. What is no text is sent as a line that is no row."""
    text = value if isinstance(value, str) else json.dumps([value])
    return text.encode("utf-8", "surrogatepass")
