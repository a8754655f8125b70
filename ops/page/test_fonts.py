"""The page has the same layout whatever fonts a machine has: it brings its own."""

import pathlib

import pytest
from helpers import VIEWS, settled

DEJAVU, LIBERATION = "DejaVuSans.ttf", "LiberationSans-Regular.ttf"
SETS = [(DEJAVU, LIBERATION), (LIBERATION,), (DEJAVU,)]

# The first layout at each width, with which the layouts of the other sets are compared.
first_seen = {}


@pytest.fixture(scope="module", params=SETS, ids="-".join)
def browser(request, launch, tmp_path_factory):
    """A browser on a machine that has these fonts and no others."""
    folder = tmp_path_factory.mktemp("fonts")
    fonts = [next(pathlib.Path("/usr/share/fonts").rglob(name), None) for name in request.param]
    if None in fonts:
        pytest.skip(f"the fonts of {' and '.join(request.param)} are not installed")
    listed = "".join(f"<dir>{font.parent}</dir>" for font in fonts)
    (folder / "fonts.conf").write_text(f"<fontconfig>{listed}<cachedir>{folder}/cache</cachedir></fontconfig>")
    browser = launch(FONTCONFIG_FILE=str(folder / "fonts.conf"))
    yield browser
    browser.close()


def narrow(opened, view, width):
    page = opened(view, viewport={"width": width, "height": 800}, has_touch=True, is_mobile=True)
    settled(page, view)
    page.evaluate("document.fonts.ready.then(() => {})")
    return page


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [320, 360, 390, 768])
def test_nothing_is_wider_than_a_phone(opened, view, width):
    page = narrow(opened, view, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 768])
def test_the_form_is_laid_out_the_same(opened, width):
    page = narrow(opened, "/", width)
    page.evaluate("document.querySelectorAll('#form details').forEach((group) => { group.open = true; })")
    # It appears some time after the form.
    page.evaluate("document.getElementById('estimate').hidden = true")
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('#form *')].filter((element) => element.checkVisibility()).map((element) => {
            const { x, y, width, height } = element.getBoundingClientRect();
            return [element.localName, element.className, x, y, width, height].join(' ');
        })"""
    )
    assert len(boxes) > 100
    assert boxes == first_seen.setdefault(width, boxes)
