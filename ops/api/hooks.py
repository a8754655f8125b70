"""The document as its server is held to it: stricter than clients are asked to be."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, document):
    """What is not described may come one day, so clients must not mind it; today nothing may come."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
