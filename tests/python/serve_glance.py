"""Serves the real Glance's WSGI application, which comes without a server of its own.

Usage: OS_GLANCE_CONFIG_DIR=DIRECTORY python serve_glance.py
Prints its address when it answers; ends when its standard input does.
"""

import os
import socketserver
import sys
import threading
from wsgiref import simple_server

from glance.wsgi.api import application


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class Handler(simple_server.WSGIRequestHandler):
    def address_string(self):
        # Never asks a name server.
        return self.client_address[0]


with simple_server.make_server("127.0.0.1", 0, application, Server, Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()
    # Without waiting for the threads of the libraries.
    os._exit(0)
