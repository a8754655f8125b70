"""A fleet that asks for keys, behind a proxy that ends TLS, as most fleets are."""

import http.server
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import types

import pytest
import trustme

USO = os.environ["USO_BIN"]
EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "crates/engine/assets/mini/examples"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def pump(source, sink):
    """Carries bytes one way until one side ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for side in (source, sink):
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class TlsProxy:
    """Takes TLS off and hands on what is inside."""

    def __init__(self, authority, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.to = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context = context
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            return
        threading.Thread(target=pump, args=[client, server], daemon=True).start()
        pump(server, client)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """Where the API is, and a key for it."""
    folder = tmp_path_factory.mktemp("fleet")
    authority = trustme.CA()
    certificate = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    port = free_port()
    proxy = TlsProxy(authority, port)
    log = open(folder / "up.log", "w")
    process = subprocess.Popen(
        [USO, "up", "--port", str(port), "--data", folder / "data", "--auth", "keys"]
        + ["--public-url", proxy.url, "--allow-private-webhooks"],
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    try:
        assert "ready on" in process.stdout.readline(), (folder / "up.log").read_text()
        said = {name: (folder / "data/redis" / name).read_text().strip() for name in ("port", "password")}
        redis = f"redis://:{said['password']}@127.0.0.1:{said['port']}"
        create = [USO, "keys", "create", "studio", "--scope", "submit,read", "--redis", redis]
        key = subprocess.run(create, check=True, capture_output=True, text=True)
        os.environ["SSL_CERT_FILE"] = os.environ["NODE_EXTRA_CA_CERTS"] = str(certificate)
        yield types.SimpleNamespace(url=proxy.url, key=key.stdout.strip(), plain=f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        proxy.listener.close()


@pytest.fixture
def star():
    return EXAMPLES / "content_star.png"


@pytest.fixture
def endpoint():
    """Somebody who is told: what came, as pairs of headers and body."""
    heard, came = [], threading.Semaphore(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            heard.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()
            came.release()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def message():
        """The next message that was not given before."""
        assert came.acquire(timeout=60), "nobody told us"
        return heard.pop(0)

    yield types.SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/hook", message=message)
    server.shutdown()
