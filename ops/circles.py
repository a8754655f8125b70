#!/usr/bin/env python3
"""Finds circles of files: files of a crate that use each other, directly or along a path.

    python3 ops/circles.py [CRATE_FOLDER...]      all crates under crates/ if none is named

A file uses another if it names something that is defined there: in a `use` or in a path like `super::node::open`.
A `mod` that declares a child is no use, and neither is a bare re-export: whoever names a re-exported item uses the
file that defines it. Comments, strings and `#[cfg(test)]` items do not count. Calls of methods are not seen.
Prints each circle with the names that close it; the exit code is 1 if there is one.
"""

import re
import sys
from pathlib import Path

BLANK = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<h>#*)".*?"(?P=h)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^\\'\n])'""", re.S
)
DEFINED = re.compile(r"\b(?:fn|struct|enum|trait|type|const|static|union|mod|macro_rules!)\s+(\w+)")
USE = re.compile(r"(pub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:.'$])\w+(?:::\w+)+")
INLINE = re.compile(r"\bmod\s+\w+\s*\{")


def end_of(text, start):
    """Where the item that begins at `start` ends: at its `;` or at the brace that closes its first."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == ";" and depth == 0:
            return at + 1
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
            if depth == 0 and text[at] == "}":
                return at + 1
    return len(text)


def code_of(path):
    """A file without comments, strings and tests, and the names of its children that are tests."""
    code, tests = BLANK.sub('""', path.read_text()), set()
    while (found := re.search(r"#\[cfg\(test\)\]\s*", code)) is not None:
        end = end_of(code, found.end())
        tests.update(re.findall(r"^(?:pub\S*\s+)?mod\s+(\w+)\s*;", code[found.end() : end]))
        code = code[: found.start()] + code[end:]
    return code, tests


def leaves(tree, before=()):
    """The paths of a `use`, each with the name that it gives."""
    tree = tree.strip()
    if (brace := tree.find("{")) >= 0:
        before += tuple(part for part in tree[:brace].replace(" ", "").split("::") if part)
        depth, start, inner = 0, 0, tree[brace + 1 : tree.rindex("}")] + ","
        for at, sign in enumerate(inner):
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if sign == "," and depth == 0:
                yield from leaves(inner[start:at], before)
                start = at + 1
    elif tree:
        path, _, name = tree.partition(" as ")
        parts = before + tuple(part.strip() for part in path.split("::") if part.strip())
        parts = parts[:-1] if parts[-1] == "self" and len(parts) > 1 else parts
        yield parts, name.strip() or parts[-1]


class File:
    def __init__(self, path, module):
        self.path, self.module = path, module
        self.code, self.tests = code_of(path)
        self.names, self.globs, self.uses, self.reexports = {}, [], [], []
        spans = [(found.start(), end_of(self.code, found.start())) for found in INLINE.finditer(self.code)]

        def lifted(parts, at):
            """What a path of an inline module is to the file itself."""
            for start, end in spans:
                parts = parts[1:] if start < at < end and parts[0] == "super" else parts
            return parts

        for found in USE.finditer(self.code):
            for parts, name in leaves(found[2]):
                parts = lifted(parts, found.start())
                if name == "*":
                    self.globs.append(parts[:-1])
                    parts = parts[:-1]
                elif parts != (name,):
                    self.names[name] = parts
                (self.reexports if found[1] else self.uses).append((parts, name))
        body = USE.sub(lambda found: " " * len(found[0]), self.code)
        self.defined = set(DEFINED.findall(body))
        self.words = set(re.findall(r"\w+", re.sub(r"\bmod\s+\w+\s*;", "", body)))
        for found in PATH.finditer(body):
            self.uses.append((lifted(tuple(found[0].split("::")), found.start()), found[0]))


class Crate:
    def __init__(self, folder):
        source = folder / "src"
        root = next((source / name for name in ("lib.rs", "main.rs") if (source / name).exists()), None)
        self.files = {}
        for path in sorted(source.rglob("*.rs")) if root else []:
            module = path.relative_to(source).with_suffix("").parts
            module = () if path == root else module[:-1] if module[-1] == "mod" else module
            self.files[module] = File(path, module)
        for file in list(self.files.values()):
            for test in file.tests:
                self.files.pop(file.module + (test,), None)

    def find(self, module, parts, seen=frozenset()):
        """The module that defines what a path in `module` means, or None for another crate's."""
        if not parts or (module, parts) in seen:
            return module if not parts else None
        seen = seen | {(module, parts)}
        head, rest = parts[0], parts[1:]
        if head == "crate":
            return self.walk((), rest, seen)
        if head == "self":
            return self.walk(module, rest, seen)
        if head == "super":
            return self.find(module[:-1], rest if rest[:1] == ("super",) else ("self",) + rest, seen)
        file = self.files[module]
        named = head in file.names and file.names[head][0] != head
        return self.walk(module, parts, seen) if named or module + (head,) in self.files else None

    def walk(self, module, parts, seen):
        if not parts:
            return module
        file, head, rest = self.files[module], parts[0], parts[1:]
        if module + (head,) in self.files:
            return self.walk(module + (head,), rest, seen)
        if head in file.names and head not in file.defined:
            return self.find(module, file.names[head] + rest, seen)
        if head not in file.defined:
            for glob in file.globs:
                target = self.find(module, glob, seen)
                if target is not None and target != module and head in self.files[target].defined:
                    return target
        return module

    def graph(self):
        graph = {module: {} for module in self.files}
        for module, file in self.files.items():
            own = [(parts, name) for parts, name in file.reexports if name in file.words and name not in file.defined]
            for parts, name in file.uses + own:
                target = self.find(module, parts)
                if target is not None and target != module:
                    graph[module].setdefault(target, name)
        return graph


def circle(graph, start):
    """A shortest way from a file back to itself, or None."""
    came, edge = {start: None}, [start]
    for module in edge:
        for target in graph[module]:
            if target == start:
                way = [module]
                while came[way[-1]] is not None:
                    way.append(came[way[-1]])
                return way[::-1]
            if target not in came:
                came[target] = module
                edge.append(target)
    return None


def main(folders):
    folders = [Path(folder) for folder in folders] or sorted(Path(__file__).parents[1].glob("crates/*"))
    found = 0
    for folder in folders:
        crate = Crate(folder)
        graph, circles = crate.graph(), set()
        for module in graph:
            if (way := circle(graph, module)) is not None:
                least = way.index(min(way))
                circles.add(tuple(way[least:] + way[:least]))
        print(f"{folder.name}: {len(graph)} files, {len(circles)} circles")
        for way in sorted(circles):
            print("   circle:")
            for module, target in zip(way, way[1:] + way[:1]):
                path = crate.files[module].path.relative_to(folder)
                print(f"      {path} uses {crate.files[target].path.relative_to(folder)} ({graph[module][target]})")
        found += len(circles)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
