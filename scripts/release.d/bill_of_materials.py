"""A CycloneDX bill of materials, out of what `cargo metadata` prints: standard input to standard output.

Its argument is the version that is published.  Crates that only tests or build scripts use are left out:
what is named is in the program.
"""

import json
import os
import sys
import uuid
from datetime import datetime, timezone


def in_the_program(metadata):
    """The ids of the packages that the program is linked from, and of each what it uses."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    uses, waiting = {}, [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in uses:
            continue
        normal = [dep["pkg"] for dep in nodes[package]["deps"]
                  if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        uses[package] = sorted(normal)
        waiting += normal
    return uses


def component(package, version=None, kind="library"):
    version = version or package["version"]
    described = {
        "type": kind,
        "bom-ref": f"pkg:cargo/{package['name']}@{version}",
        "name": package["name"],
        "version": version,
        "purl": f"pkg:cargo/{package['name']}@{version}",
    }
    if package.get("license"):
        # Old crates have a slash for "or".
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package.get("repository"):
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main():
    metadata = json.load(sys.stdin)
    version = sys.argv[1]
    packages = {package["id"]: package for package in metadata["packages"]}
    uses, root = in_the_program(metadata), metadata["resolve"]["root"]
    described = {package: component(packages[package]) for package in uses if package != root}
    described[root] = component(packages[root], version, "application")
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'glancefs {version} {made}')}",
        "version": 1,
        "metadata": {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
                     "component": described[root]},
        "components": sorted((each for package, each in described.items() if package != root),
                             key=lambda each: each["bom-ref"]),
        "dependencies": sorted(
            ({"ref": described[package]["bom-ref"],
              "dependsOn": sorted({described[used]["bom-ref"] for used in used_ones})}
             for package, used_ones in uses.items()), key=lambda each: each["ref"]),
    }
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
