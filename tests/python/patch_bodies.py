"""Teaches schemathesis that the Image API's two kinds of JSON patch are JSON."""

import schemathesis

KINDS = [f"application/openstack-images-v2.{minor}-json-patch" for minor in (0, 1)]
schemathesis.serializer.alias(KINDS, "application/json")
