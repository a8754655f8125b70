#!/usr/bin/env python3
"""How soon the gallery and the queue of a fleet show something useful, in Chromium with nothing cached.

paint.py URL ROUNDS prints {"gallery_ms": [...], "queue_ms": [...]}: milliseconds from the start of the
navigation, by the browser's own clock. Needs Playwright, as ops/test-page.sh installs it, and the
system's Chromium.
"""

import json
import os
import shutil
import sys

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000
SAID = "first useful paint: "

# What has to be seen. Both give the elements that count, or nothing while one of them is missing.
USEFUL = {
    "gallery": """() => {
        const tiles = [...document.querySelectorAll('#tiles > .tile')];
        const row = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop);
        const pictures = row.map((tile) => tile.querySelector('img'));
        const there = (picture) => picture?.complete && picture.naturalWidth > 0;
        return pictures.length && pictures.every(there) ? pictures : null;
    }""",
    "queue": """() => {
        const numbers = [...document.querySelectorAll('#figures .figure b')];
        const rows = [...document.querySelectorAll('#live > .row')].filter((row) => row.innerText.trim());
        const there = numbers.length > 0 && numbers.every((number) => /\\d/.test(number.textContent));
        return there && rows.length ? [...numbers, rows[0]] : null;
    }""",
}

# A frame is painted after its callbacks have run, so the time is taken in a task that follows the frame.
# What fades in counts once it is opaque, and what is out of sight does not count.
WATCH = """
(() => {
    const useful = %s;
    const opaque = (element) => {
        for (let at = element; at; at = at.parentElement) if (getComputedStyle(at).opacity !== '1') return false;
        return true;
    };
    const inSight = (element) => {
        const { top, bottom, width } = element.getBoundingClientRect();
        return width > 0 && bottom > 0 && top < innerHeight;
    };
    const look = async () => {
        const elements = document.body && useful();
        if (!elements || !elements.every((one) => inSight(one) && opaque(one))) return requestAnimationFrame(look);
        await Promise.all(elements.map((one) => one.decode?.()));
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => console.info('%s' + performance.now());
            port2.postMessage(null);
        });
    };
    requestAnimationFrame(look);
})();
"""


def first_useful_paint(browser, base, view):
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    try:
        context.add_init_script(WATCH % (USEFUL[view], SAID))
        page = context.new_page()
        with page.expect_console_message(lambda told: told.text.startswith(SAID), timeout=PATIENCE_MS) as told:
            page.goto(f"{base}/#{view}", wait_until="commit")
        return round(float(told.value.text.removeprefix(SAID)), 1)
    finally:
        context.close()


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: paint.py URL ROUNDS")
    base, rounds = sys.argv[1].rstrip("/"), int(sys.argv[2])
    chromium = os.environ.get("USO_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        sys.exit("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        # The first page of a browser pays for the browser's own start.
        browser.new_context().new_page().goto(f"{base}/page/icon.svg")
        times = {f"{view}_ms": [first_useful_paint(browser, base, view) for _ in range(rounds)] for view in USEFUL}
        browser.close()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
