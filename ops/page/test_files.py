"""How the page's own files refer to each other."""

import posixpath
import re

import pytest
from conftest import EXAMPLES

ASSETS = EXAMPLES.parents[3] / "api/assets/page"
INDEX = (ASSETS / "index.html").read_text()
VIEWS = {"batch", "generate", "queue", "gallery", "viewer"}


def files(ending):
    return {file.relative_to(ASSETS).as_posix() for file in ASSETS.rglob(f"*.{ending}")}


def imports(script):
    names = re.findall(r"""from '([^']+)'""", (ASSETS / script).read_text())
    return {posixpath.normpath(posixpath.join(posixpath.dirname(script), name)) for name in names}


@pytest.mark.parametrize("ending", ["js", "css"])
def test_the_index_names_every_file(ending):
    # The browser finds a module that the index does not name only after it has read the one that imports it.
    assert [name for name in sorted(files(ending)) if f'"/page/{name}"' not in INDEX] == []


def test_everything_that_is_named_exists():
    named = re.findall(r"""["'(]/page/([^"')]+)""", INDEX + "".join((ASSETS / sheet).read_text() for sheet in files("css")))
    assert len(named) > 40
    assert [name for name in named if not (ASSETS / name).is_file()] == []
    assert [name for script in files("js") for name in imports(script) if not (ASSETS / name).is_file()] == []


def test_no_scripts_import_each_other_in_a_circle():
    left = {script: imports(script) for script in files("js")}
    assert left["app.js"]
    while free := {script for script, needs in left.items() if not needs & left.keys()}:
        left = {script: needs for script, needs in left.items() if script not in free}
    assert left == {}


def test_a_view_imports_only_its_own_and_shared_scripts():
    for script in files("js") - {"app.js"}:
        folder = script.split("/")[0]
        assert folder in VIEWS | {"shared"}, script
        foreign = {name for name in imports(script) if name.split("/")[0] not in {folder, "shared"}}
        assert foreign == set(), script
