"""The document as its server is held to it: stricter than clients are asked to be."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, document):
    """Later versions may add fields, so clients must ignore unknown ones; today there may be none."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)


@schemathesis.serializer("application/x-ndjson")
def json_lines(context, value):
    """Text as it is: no row of it is made from a schema."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
