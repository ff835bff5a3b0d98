"""What programs do through openstacksdk's image proxy, one step after another.

Arguments: the API's URL, a file to upload.  Ends with an error where an answer is not as it should be.
"""

import hashlib
import pathlib
import sys

import openstack
from openstack import exceptions


def expect(condition, *facts):
    """Fails unless the condition holds."""
    if not condition:
        raise AssertionError(facts)


def upload(cloud, path):
    """Uploads by the cloud layer (which compares hashes), and by the proxy, as a stream."""
    data = path.read_bytes()
    made = cloud.create_image(
        "by cloud", filename=str(path), disk_format="raw", container_format="bare",
        md5=hashlib.md5(data).hexdigest(), sha256=hashlib.sha256(data).hexdigest(),
        meta={"os_distro": "debian"}, tags=["first"], wait=True, timeout=60)
    expect(made.status == "active" and made.size == len(data), made)
    same = cloud.create_image(
        "by cloud", filename=str(path), disk_format="raw", container_format="bare",
        md5=hashlib.md5(data).hexdigest(), sha256=hashlib.sha256(data).hexdigest())
    expect(same.id == made.id, "made again although the hashes are the same", same)
    with path.open("rb") as stream:
        second = cloud.image.create_image(
            name="by proxy", disk_format="raw", container_format="bare", data=stream)
    expect(cloud.image.get_image(second.id).status == "active", second)
    return made, second


def read(cloud, image, data):
    """Downloads, whole and as a stream; the SDK compares the hash."""
    expect(cloud.image.download_image(image.id).content == data, "differs")
    stream = cloud.image.download_image(image.id, stream=True)
    expect(b"".join(stream.iter_content(65536)) == data, "differs")


def describe(cloud, image):
    """Looks for images, alters what is known of one."""
    proxy = cloud.image
    expect(proxy.find_image("by cloud").id == image.id, "found by name")
    expect([found.id for found in proxy.images(name="by cloud", tag="first")] == [image.id],
           "listed")
    expect(len(list(proxy.images(limit=1))) == 2, "pages")
    changed = proxy.update_image(image.id, name="renamed", min_ram=64, os_distro="ubuntu")
    expect(changed.name == "renamed" and changed.min_ram == 64, changed)
    proxy.add_tag(image.id, "second")
    proxy.remove_tag(image.id, "first")
    expect(proxy.get_image(image.id).tags == ["second"], "tags")
    proxy.deactivate_image(image.id)
    expect(proxy.get_image(image.id).status == "deactivated", "deactivated")
    proxy.reactivate_image(image.id)


def share(cloud, image):
    """Members."""
    proxy = cloud.image
    proxy.add_member(image.id, member_id="somebody")
    proxy.update_member("somebody", image.id, status="accepted")
    expect([member.status for member in proxy.members(image.id)] == ["accepted"], "members")
    proxy.remove_member("somebody", image.id)
    expect(not list(proxy.members(image.id)), "members")


def definitions(cloud):
    """Metadata definitions."""
    proxy = cloud.image
    proxy.create_metadef_namespace(namespace="sdk", display_name="SDK", visibility="public")
    proxy.create_metadef_property("sdk", name="p", title="P", type="string")
    proxy.create_metadef_object("sdk", name="o", properties={})
    proxy.create_metadef_resource_type_association("sdk", name="OS::Glance::Image")
    expect([found.name for found in proxy.metadef_properties("sdk")] == ["p"], "properties")
    expect([found.name for found in proxy.metadef_objects("sdk")] == ["o"], "objects")
    expect(list(proxy.metadef_resource_types()), "resource types")
    proxy.update_metadef_namespace("sdk", display_name="changed")
    proxy.delete_metadef_namespace("sdk")
    expect(not [found for found in proxy.metadef_namespaces() if found.namespace == "sdk"],
           "namespaces")


def stores_of(cloud, image):
    """Where its data is, in order."""
    return sorted(cloud.image.get(f"/images/{image.id}").json()["stores"].split(","))


def bring_in(cloud, path, data):
    """Stages and imports, to every store; a task tells of it."""
    proxy = cloud.image
    image = proxy.create_image(name="imported", disk_format="raw", container_format="bare")
    proxy.stage_image(image, filename=str(path))
    expect(proxy.get_image(image.id).status == "uploading", "staged")
    proxy.import_image(image, method="glance-direct", all_stores=True,
                       all_stores_must_succeed=True)
    image = cloud.image.wait_for_status(
        proxy.get_image(image.id), "active", interval=0.1, wait=60, attribute="status")
    stores = sorted(store.id for store in proxy.stores())
    expect(stores_of(cloud, image) == stores, image, stores)
    expect([task.status for task in proxy.image_tasks(image)] == ["success"], "tasks")
    expect(proxy.download_image(image.id).content == data, "differs")
    proxy.delete_image(image.id, store=stores[0])
    expect(stores_of(cloud, image) == stores[1:], image)
    expect("glance-direct" in proxy.get_import_info().import_methods["value"], "import methods")
    return image


def main():
    """All of it."""
    url, path = sys.argv[1], pathlib.Path(sys.argv[2])
    data = path.read_bytes()
    cloud = openstack.connect(auth_type="none", endpoint=url, image_endpoint_override=url)
    made, second = upload(cloud, path)
    read(cloud, made, data)
    describe(cloud, made)
    share(cloud, made)
    definitions(cloud)
    third = bring_in(cloud, path, data)
    for image in (made, second, third):
        cloud.image.delete_image(image.id)
    expect(not list(cloud.image.images()), "all are gone")
    try:
        cloud.image.get_image(made.id)
    except exceptions.NotFoundException:
        pass
    else:
        raise AssertionError("a deleted image is shown")


if __name__ == "__main__":
    main()
