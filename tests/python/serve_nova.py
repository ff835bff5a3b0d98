"""Nova's RBD disks and its client of the Image API, as its compute service uses them.

Usage: python serve_nova.py nova.conf
Reads requests, each a line of JSON: the name of a function below and its arguments; answers each with a line:
{"done": result} or {"failed": class of the exception, "because": its text}.  Ends when its input does.
"""

import json
import sys
import types

from oslo_service import backend

# Before anything that chooses for itself.
backend.init_backend(backend.BackendType.THREADING)

from nova import config
from nova import context
from nova import objects
from nova.image import glance
from nova.virt.libvirt import imagebackend

config.parse_args(["nova-compute", "--config-file", sys.argv[1]])
objects.register_all()
IMAGES = glance.API()


def user(token):
    """Who asks for a machine."""
    return context.RequestContext(auth_token=token, is_admin=False)


def disk(instance):
    """The first disk of a machine."""
    return imagebackend.Rbd(types.SimpleNamespace(uuid=instance), "disk")


def clone(token, image, instance):
    """`nova boot`: makes the disk."""
    disk(instance).clone(user(token), image)


def snapshot(token, image, instance, name):
    """`nova image-create`: the id of the image that the machine's disk was copied to, in the pool."""
    fields = {"name": name, "disk_format": "raw", "container_format": "bare"}
    made = IMAGES.create(user(token), fields)["id"]
    location = disk(instance).direct_snapshot(user(token), "snapshot", "raw", made, image)
    fields = {"status": "active", "location": location, "properties": {"image_state": "available"}}
    IMAGES.update(user(token), made, fields, purge_props=False)
    return made


def delete_image(token, image):
    """`nova image-delete`"""
    IMAGES.delete(user(token), image)


def delete(token, instance):
    """`nova delete`"""
    disk(instance).driver.cleanup_volumes(lambda name: name.startswith(instance))


FUNCTIONS = {function.__name__: function for function in (clone, snapshot, delete_image, delete)}
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"done": FUNCTIONS[name](*arguments)}
    except Exception as error:
        answer = {"failed": type(error).__name__, "because": str(error)}
    print(json.dumps(answer), flush=True)
