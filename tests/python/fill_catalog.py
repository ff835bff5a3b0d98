"""Fills an empty database by the real Glance's own code: images of every kind, 500 of them, some deleted.

Usage: fill_catalog.py GLANCE-API.CONF DIRECTORY-OF-THE-STORES
"""

import sys
import uuid

from glance.common import config
from glance.context import RequestContext
from glance.db.sqlalchemy import api

config.parse_args(args=["--config-file", sys.argv[1]])
admin = RequestContext(is_admin=True, show_deleted=False)

IMAGES = 500
PROJECTS = ["alpha", "beta", "gamma", None]
VISIBILITIES = ["private", "public", "shared", "community"]
STATUSES = ["active", "active", "active", "queued", "deactivated", "saving"]

for n in range(IMAGES):
    image_id = str(uuid.UUID(int=0x5EED0000000040008000000000000000 + n))
    status = STATUSES[n % len(STATUSES)]
    data = status in ("active", "deactivated")
    stores = ["fast"] if n % 3 else ["fast", "slow"]
    values = {
        "id": image_id,
        "name": None if n % 50 == 7 else f"Größe {n % 90} of many",
        "status": status,
        "visibility": VISIBILITIES[n // 2 % 4],
        "owner": PROJECTS[n % 4],
        "disk_format": ["raw", "qcow2", "vmdk"][n % 3],
        "container_format": "bare",
        "min_disk": n % 5,
        "min_ram": n % 7 * 256,
        "protected": n % 11 == 0,
        "os_hidden": n % 13 == 0,
        "properties": {f"key_{k}": f"väl {n + k}" for k in range(n % 6)},
    }
    if data:
        values |= {
            "size": n * 1021,
            "virtual_size": n * 4096 or None,
            "checksum": f"{n:032x}",
            "os_hash_algo": "sha512",
            "os_hash_value": f"{n:0128x}",
            "locations": [
                {"url": f"file://{sys.argv[2]}/{store}/{image_id}", "metadata": {"store": store}, "status": "active"}
                for store in stores
            ],
        }
    api.image_create(admin, values)
    api.image_tag_set_all(admin, image_id, [f"tag{t}" for t in range(n % 4)])
    if values["visibility"] == "shared":
        for member, accepted in [("delta", "accepted"), ("epsilon", "pending"), ("zeta", "rejected")][: n % 4]:
            api.image_member_create(
                admin, {"image_id": image_id, "member": member, "can_share": False, "status": accepted})
    if n % 10 == 3:
        api.image_update(admin, image_id, {"properties": {"only": "this"}}, purge_props=True)
    if n % 17 == 5:
        api.image_tag_delete(admin, image_id, "tag0") if n % 4 else None
    if n % 25 == 24:
        api.image_update(admin, image_id, {"protected": False})
        api.image_destroy(admin, image_id)
