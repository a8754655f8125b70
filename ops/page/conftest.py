"""A browser for each test. A test fails if the page throws, breaks its policy or sends requests elsewhere."""

import os
import pathlib
import re
import subprocess
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

BASE = os.environ["USO_BASE_URL"].rstrip("/")
HERE = pathlib.Path(__file__).parent
EXAMPLES = HERE.parent.parent / "crates/engine/assets/mini/examples"
SHOTS = os.environ.get("USO_SHOTS")
# A folder whose files are used in place of those in the binary: you can try a change without a build.
PAGE = os.environ.get("USO_PAGE")

# How long a busy machine may take for what takes milliseconds on an idle one.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def launch():
    """Starts browsers, each with an environment of its own."""
    with sync_playwright() as playwright:
        # Containers have little shared memory, and a browser that runs out of it loses its pages.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", *os.environ.get("USO_CHROMIUM_ARGS", "").split()]
        if PAGE:
            # A document that does not come over the network has no address: Chromium would keep it from this machine's.
            arguments.append("--disable-features=LocalNetworkAccessChecks")

        def start(**environment):
            environment = {**os.environ, **environment}
            return playwright.chromium.launch(
                executable_path=os.environ["USO_CHROMIUM"], args=arguments, env=environment
            )

        yield start


@pytest.fixture(scope="session")
def browser(launch):
    browser = launch()
    yield browser
    browser.close()


def from_folder(route):
    path = urlsplit(route.request.url).path
    if path == "/":
        # With the headers of the server: its policy holds for these files, too.
        return route.fulfill(response=route.fetch(), body=pathlib.Path(PAGE, "index.html").read_text())
    file = pathlib.Path(PAGE, path.removeprefix("/page/"))
    if file.is_file():
        route.fulfill(path=file)
    else:
        route.continue_()


@pytest.fixture
def opened(browser, request):
    """Opens pages. At the end, none may have thrown, broken its policy or sent requests elsewhere."""
    contexts, faults = [], []

    def open_page(path="/", base=BASE, **options):
        options = {"viewport": {"width": 1360, "height": 860}, "color_scheme": "light", **options}
        context = browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        if PAGE:
            context.route(f"{base}/", from_folder)
            context.route(f"{base}/page/**", from_folder)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(f"threw: {error}"))
        page.on(
            "console",
            lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None,
        )
        here = urlsplit(BASE).hostname
        page.on(
            "request",
            lambda asked: faults.append(f"called {asked.url}")
            if urlsplit(asked.url).scheme in ("http", "https") and urlsplit(asked.url).hostname != here
            else None,
        )
        page.goto(base + path)
        # Shown once the page has read the capabilities and applied them.
        page.locator("#about span").first.wait_for()
        return page

    yield open_page
    if SHOTS and contexts:
        pathlib.Path(SHOTS).mkdir(parents=True, exist_ok=True)
        for context in contexts:
            for page in context.pages:
                page.screenshot(path=f"{SHOTS}/{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}.png")
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(opened):
    return opened()


class Fleet:
    """Stops the fleet and starts it again at the same address."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, what):
        subprocess.run([HERE.parent / "fleet.sh", what, self.folder], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def fleet():
    folder = os.environ.get("USO_FLEET_DIR")
    if not folder:
        pytest.skip("needs a fleet of its own: USO_FLEET_DIR")
    return Fleet(folder)
