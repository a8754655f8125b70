"""A page of another origin uses the fleet."""

import http.server
import os
import threading
from urllib.parse import urlsplit

import pytest

from conftest import BASE, EXAMPLES

ELSEWHERE = os.environ.get("USO_ELSEWHERE", "")

# What a web developer would write: it loads none of our scripts.
GENERATE = """async ({ api, bytes }) => {
  const key = { authorization: 'Bearer a-key' };
  const post = (path, body) => fetch(api + path, {
    method: 'POST', headers: { ...key, 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  const file = new Blob([new Uint8Array(bytes)], { type: 'image/png' });
  const upload = await (await post('/v1/uploads', { content_type: 'image/png', bytes: file.size })).json();
  const put = await fetch(upload.url, { method: upload.method, headers: { 'content-type': 'image/png' }, body: file });
  const prompt = 'the star is at the left on a green field';
  const accepted = await post('/v1/jobs', { prompt, content: upload.source, steps: 4 });
  const at = api + accepted.headers.get('location');
  const events = await (await fetch(at + '/events', { headers: key })).text();
  const { output } = await (await fetch(at, { headers: key })).json();
  const picture = await createImageBitmap(await (await fetch(output.url)).blob());
  const gone = await fetch(at, { method: 'DELETE', headers: key });
  return { put: put.status, tag: put.headers.get('etag'), events, width: picture.width, gone: gone.status };
}"""


@pytest.fixture
def elsewhere(browser):
    if not ELSEWHERE:
        pytest.skip("needs a fleet that allows another origin: USO_ELSEWHERE")

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", urlsplit(ELSEWHERE).port), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    yield context.new_page()
    context.close()
    server.shutdown()
    server.server_close()


def test_a_page_of_an_allowed_origin_uploads_generates_and_deletes(elsewhere):
    elsewhere.goto(ELSEWHERE)
    bytes = list((EXAMPLES / "content_star.png").read_bytes())
    seen = elsewhere.evaluate(GENERATE, {"api": BASE, "bytes": bytes})
    assert (seen["put"], seen["width"], seen["gone"]) == (200, 64, 204)
    assert seen["tag"] and "event: succeeded" in seen["events"]


def test_a_page_of_another_origin_reads_nothing(elsewhere):
    # The same server under a name that is not allowed.
    elsewhere.goto(ELSEWHERE.replace("127.0.0.1", "localhost"))
    for path in ("/v1/jobs", "/v1/capabilities"):
        refused = elsewhere.evaluate("(url) => fetch(url).catch((error) => error.name)", BASE + path)
        assert refused == "TypeError", path
