#!/usr/bin/env python3
"""Finds files of a crate that use each other in a circle.

    ops/circles.py crates/bench [crates/...]

A file uses another one if a path in it (`use`, or in the code) leads to a name of that file; names that a file passes on
with `pub use` belong to the file that they come from. A `mod` line is no use. Code under `#[cfg(test)]` does not count.
Ends with 1 if there is a circle."""
import re
import sys
from pathlib import Path

NAME = r"[A-Za-z_]\w*"
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|b?r(#+)".*?"\1|b?r?"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\\\'])\'', re.S)


def read(crate):
    """All files of a crate, by their module's path."""
    files = {}
    for file in sorted((crate / "src").rglob("*.rs")):
        parts = list(file.relative_to(crate / "src").with_suffix("").parts)
        if parts[-1] in ("mod", "lib", "main"):
            parts.pop()
        files[("crate", *parts)] = without_tests(NOISE.sub(" ", file.read_text()))
    return files


def without_tests(code):
    """Code without the items under `#[cfg(test)]`, which end with their braces or a semicolon."""
    while (at := code.find("#[cfg(test)]")) >= 0:
        end, depth = at, 0
        while end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            if depth == 0 and code[end] in ";}":
                break
            end += 1
        code = code[:at] + code[end + 1 :]
    return code


def tree(text, before=()):
    """The paths of a `use` tree such as `a::{b, c::d as e}`, each with the name that it gets here."""
    text = text.strip()
    if match := re.fullmatch(r"(.*?)\{(.*)\}", text, re.S):
        start = before + tuple(part.strip() for part in match[1].split("::") if part.strip())
        depth, item = 0, ""
        for letter in match[2] + ",":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                if item.strip():
                    yield from tree(item, start)
                item = ""
            else:
                item += letter
        return
    path, _, alias = text.partition(" as ")
    path = before + tuple(part.strip() for part in path.split("::") if part.strip())
    if path[-1] == "self":
        path = path[:-1]
    yield path, alias.strip() or path[-1]


def absolute(path, module, files):
    """The path from the crate's root; none if it leads out of the crate."""
    head, rest = path[0], path[1:]
    if head == "crate":
        return path
    if head == "self":
        return module + rest
    if head == "super":
        return absolute(("self", *rest), module[:-1], files)
    return module + path if module + path[:1] in files else None


def uses(files):
    """Which files each file uses."""
    passed_on, paths = {}, {}
    for module, code in files.items():
        paths[module], passed_on[module], imported = [], {}, {}
        for visible, text in re.findall(r"(?:(pub)(?:\([^)]*\))?\s+)?\buse\s+([^;]+);", code):
            for path, name in tree(text):
                if full := absolute(path, module, files):
                    imported[name] = full
                    paths[module].append(full)
                    if visible:
                        passed_on[module][name] = full
        code = re.sub(r"\buse\s+[^;]+;", " ", code)
        for text in re.findall(rf"(?<![\w:]){NAME}(?:::{NAME})+", code):
            path = tuple(text.split("::"))
            full = imported[path[0]] + path[1:] if path[0] in imported else absolute(path, module, files)
            if full:
                paths[module].append(full)

    def owner(path, seen=()):
        """The file that a path's name belongs to."""
        depth = next(depth for depth in range(len(path), 0, -1) if path[:depth] in files)
        file, rest = path[:depth], path[depth:]
        if rest and path not in seen:
            origin = passed_on[file].get(rest[0])
            if origin:
                return owner(origin + rest[1:], (*seen, path))
        return file

    return {file: {owner(path) for path in paths[file]} - {file} for file in files}


def circles(graph):
    """Groups of files that lead to each other."""
    reach = {}
    for start in graph:
        reach[start], todo = set(), [start]
        while todo:
            for file in graph[todo.pop()] - reach[start]:
                reach[start].add(file)
                todo.append(file)
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def main():
    failed = False
    for crate in map(Path, sys.argv[1:] or sys.exit(__doc__)):
        graph = uses(read(crate))
        found = circles(graph)
        failed |= bool(found)
        print(f"{crate}: {len(graph)} files, {sum(map(len, graph.values()))} uses, {len(found)} circles")
        for group in found:
            for file in group:
                print(f"  {'::'.join(file)} -> {', '.join('::'.join(to) for to in sorted(graph[file] & set(group)))}")
    sys.exit(failed)


main()
