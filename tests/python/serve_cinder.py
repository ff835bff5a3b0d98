"""Cinder's RBD driver and its client of the Image API, as its volume service uses them.

Usage: python serve_cinder.py cinder.conf
Reads requests, each a line of JSON: the name of a function below and its arguments; answers each with a line:
{"done": result} or {"failed": class of the exception, "because": its text}.  Ends when its input does.
"""

import json
import sys

from cinder import context
from cinder import objects
# First: it and the next import each other.
from cinder.image import image_utils  # noqa: F401
from cinder.image import glance
from cinder.volume import configuration
from cinder.volume import driver as base
from cinder.volume.drivers import rbd
from oslo_config import cfg

objects.register_all()
cfg.CONF(["--config-file", sys.argv[1]], project="cinder")


def make_driver():
    """The driver of the section [ceph], as the service starts it."""
    settings = configuration.Configuration(base.volume_opts, config_group="ceph")
    driver = rbd.RBDDriver(configuration=settings, host="here@ceph")
    driver.do_setup(None)
    driver.check_for_setup_error()
    # os-brick would look for it in /etc/ceph.
    name = f"ceph.client.{settings.rbd_user}.keyring"
    with open(settings.rbd_ceph_conf.replace("ceph.conf", name)) as keyring:
        driver.keyring_data = keyring.read()
    return driver


def user(token):
    """Who asks for a volume."""
    return context.RequestContext(auth_token=token, is_admin=False)


def volume(token, id):
    """A volume of 1 GiB, as it is without a database behind it."""
    kind = objects.VolumeType(id=id, name="ceph", extra_specs={}, qos_specs_id=None)
    return objects.Volume(user(token), id=id, _name_id=None, size=1, volume_type=kind,
                          volume_metadata=[], glance_metadata={}, encryption_key_id=None)


def clone(token, image, id):
    """`cinder create --image-id`: whether the driver cloned the image, and from where it could."""
    service, image = glance.get_remote_image_service(user(token), image)
    meta = service.show(user(token), image)
    location = service.get_location(user(token), image)
    _, cloned = DRIVER.clone_image(user(token), volume(token, id), location, meta, service)
    return {"cloned": cloned, "direct_url": location[0], "locations": location[1]}


def create(token, fields):
    """Makes an image that has no data yet; its id."""
    return glance.get_default_image_service().create(user(token), fields)["id"]


def upload(token, id, image):
    """`cinder upload-to-image`: gives it the volume's."""
    service, image = glance.get_remote_image_service(user(token), image)
    meta = service.show(user(token), image)
    DRIVER.copy_volume_to_image(user(token), volume(token, id), service, meta)


def register(token, image, url):
    """Says where the data of an image is that has none."""
    glance.get_default_image_service().add_location(user(token), image, url, {})


def delete(token, id):
    """`cinder delete`."""
    DRIVER.delete_volume(volume(token, id))


DRIVER = make_driver()
FUNCTIONS = {function.__name__: function
             for function in (clone, create, upload, register, delete)}
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"done": FUNCTIONS[name](*arguments)}
    except Exception as error:
        answer = {"failed": type(error).__name__, "because": str(error)}
    print(json.dumps(answer), flush=True)
