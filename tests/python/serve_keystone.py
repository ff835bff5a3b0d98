"""Serves the real Keystone, which comes without a server of its own, on a SQLite database.

Usage: python serve_keystone.py DIRECTORY        serves what is there, at port PORT (0: any) of
                                PORT             this machine; prints its address when it answers,
                                                 ends when its standard input does
       python serve_keystone.py DIRECTORY new    makes DIRECTORY: the database, the keys, the
                                                 projects and the users of the tests

Each request that was answered is a line of DIRECTORY/requests: method, path and status.
"""

import json
import os
import socketserver
import sys
import threading
import urllib.request
from wsgiref import simple_server

CONFIG = """
[DEFAULT]
public_endpoint = http://127.0.0.1:{port}/
use_stderr = true
[database]
connection = sqlite:///{directory}/keystone.sqlite
[fernet_tokens]
key_repository = {directory}/fernet-keys
[fernet_receipts]
key_repository = {directory}/fernet-keys
[credential]
key_repository = {directory}/credential-keys
[token]
# Some tests change it.
expiration = {expiration}
[cache]
# What was revoked is revoked at once.
enabled = false
[identity]
# Nobody attacks these passwords.
password_hash_rounds = 4
"""

# Each in each of the projects, as PROJECT-ROLE.
PROJECTS = ["project-a", "project-b", "project-c"]
ROLES = ["admin", "member", "reader", "service"]


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    allow_reuse_address = True


class Handler(simple_server.WSGIRequestHandler):
    def address_string(self):
        # Never asks a name server.
        return self.client_address[0]

    def log_request(self, code="-", size="-"):
        with open(os.path.join(DIRECTORY, "requests"), "a") as requests:
            requests.write(f"{self.command} {self.path} {code}\n")


def configure(port):
    text = CONFIG.format(
        port=port,
        directory=DIRECTORY,
        expiration=os.environ.get("GLANCEFS_TEST_TOKEN_SECONDS", "3600"),
    )
    with open(os.path.join(DIRECTORY, "keystone.conf"), "w") as config:
        config.write(text)
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = DIRECTORY


def manage(*arguments):
    """As keystone-manage, whose libraries hold on to the configuration of their first use."""
    config = os.path.join(DIRECTORY, "keystone.conf")
    from keystone.cmd import cli

    child = os.fork()
    if child == 0:
        sys.argv = ["keystone-manage", "--config-file", config, *arguments]
        cli.main(argv=sys.argv)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"keystone-manage {arguments[0]} failed")


def make():
    os.makedirs(os.path.join(DIRECTORY, "fernet-keys"), mode=0o700)
    os.makedirs(os.path.join(DIRECTORY, "credential-keys"), mode=0o700)
    configure(0)
    owner = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    manage("fernet_setup", *owner)
    manage("credential_setup", *owner)
    manage("db_sync")
    endpoints = [f"--bootstrap-{name}-url=$(public_endpoint)sv3" for name in ("public", "internal")]
    manage("bootstrap", "--bootstrap-password=secret-of-admin", "--bootstrap-region-id=RegionOne",
           *endpoints)


class Client:
    """The administrator, with whom the tests begin."""

    def __init__(self, base):
        self.base = base
        user = {"name": "admin", "domain": {"id": "default"}, "password": "secret-of-admin"}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
        }
        self.token = None
        with self.send("POST", "/v3/auth/tokens", {"auth": auth}) as answer:
            self.token = answer.headers["X-Subject-Token"]

    def send(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        data = json.dumps(body).encode() if body is not None else None
        return urllib.request.urlopen(
            urllib.request.Request(self.base + path, data, headers, method=method)
        )

    def make(self, kind, **fields):
        with self.send("POST", f"/v3/{kind}s", {kind: fields}) as answer:
            return json.load(answer)[kind]["id"]

    def ids(self, plural):
        with self.send("GET", f"/v3/{plural}") as answer:
            return {item["name"]: item["id"] for item in json.load(answer)[plural]}

    def grant(self, scope, user, role):
        self.send("PUT", f"/v3/{scope}/users/{user}/roles/{role}").close()


def populate(base):
    client = Client(base)
    roles = client.ids("roles")
    for name in ROLES:
        if name not in roles:
            roles[name] = client.make("role", name=name)
    for project in PROJECTS:
        id = client.make("project", name=project, domain_id="default")
        for role in ROLES:
            name = f"{project}-{role}"
            user = client.make("user", name=name, domain_id="default",
                               password=f"secret-of-{name}")
            client.grant(f"projects/{id}", user, roles[role])
    service = client.make("project", name="service", domain_id="default")
    glance = client.make("user", name="glance", domain_id="default",
                         password="secret-of-glance")
    for role in ("admin", "service"):
        client.grant(f"projects/{service}", glance, roles[role])
    client.grant("system", glance, roles["reader"])
    image = client.make("service", name="glance", type="image")
    # The tests say where it is.
    for interface in ("public", "internal"):
        client.make("endpoint", service_id=image, interface=interface, region_id="RegionOne",
                    url="http://127.0.0.1:1")
    limits = [
        {"service_id": image, "region_id": "RegionOne", "resource_name": name, "default_limit": -1}
        for name in ("image_size_total", "image_stage_total", "image_count_total",
                     "image_count_uploading")
    ]
    client.send("POST", "/v3/registered_limits", {"registered_limits": limits}).close()


def serve(port, populating=False):
    with simple_server.make_server("127.0.0.1", port, None, Server, Handler) as server:
        configure(server.server_port)
        from keystone.wsgi.api import application

        server.set_app(application)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        if populating:
            populate(base)
            os.remove(os.path.join(DIRECTORY, "requests"))
        else:
            print(base, flush=True)
            sys.stdin.read()


DIRECTORY, WHAT = os.path.abspath(sys.argv[1]), sys.argv[2]
# Keystone would read them.
del sys.argv[1:]
if WHAT == "new":
    make()
    serve(0, populating=True)
else:
    serve(int(WHAT))
# Without waiting for the threads of the libraries.
sys.stdout.flush()
os._exit(0)
