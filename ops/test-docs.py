#!/usr/bin/env python3
"""Tests the papers: README.md, CONTRIBUTING.md, ops/docs/ and the crates' READMEs.

Blocks marked `sh run` are run in the order of their file, against a fleet of their own. In all other shell blocks, and in
`code` within sentences, the subcommands, flags and files that are named must exist. Relative links must lead somewhere.

  ops/test-docs.py [FILE...]     Needs target/release/uso and uso-bench; USO_BIN names another uso, beside which the other is.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
USO = Path(os.environ.get("USO_BIN", TARGET / "release/uso")).resolve()
BINARIES = {"uso": USO, "uso-bench": USO.with_name("uso-bench")}
# What is there on any machine, or is somebody else's.
OTHERS = {"cargo", "cat", "curl", "docker", "export", "git", "printf", "sed", "wc"}
LANGUAGES = {"text", "json", "js", "python", "yaml", "toml"}
# Where the fleet of the examples listens.
ADDRESS = "127.0.0.1:8080"
LONGEST_S = 600

PATH = re.compile(r"\.?(?:ops|crates|tests|migrations|src|assets)/[\w./-]+")
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)|<img src="([^"]+)"')
CODE = re.compile(r"`([^`]+)`")


class Paper:
    """A file, its shell blocks, and its lines outside of blocks."""

    def __init__(self, path):
        self.path, self.blocks, self.lines, self.faults = path, [], [], []
        block = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            fence = re.fullmatch(r"\s*```(.*)", line)
            if fence and block is None:
                block = (number + 1, fence[1].split(), [])
            elif fence:
                self.add(*block)
                block = None
            elif block is None:
                self.lines.append((number, line))
            else:
                block[2].append(line)

    def add(self, number, info, lines):
        if info[:1] == ["sh"]:
            self.blocks.append((number, "run" in info[1:], "\n".join(lines)))
        elif info[:1] == [] or info[0] not in LANGUAGES:
            self.fault(number, f"say what the block is: sh, sh run, {', '.join(sorted(LANGUAGES))}")

    def fault(self, number, text):
        self.faults.append(f"{self.path.relative_to(ROOT)}:{number}: {text}")

    def check(self):
        for number, _, text in self.blocks:
            try:
                faults = [fault for command in commands(text) for fault in command_faults(command)]
            except ValueError as error:
                faults = [str(error)]
            for fault in dict.fromkeys(faults):
                self.fault(number, fault)
        for number, line in self.lines:
            for fault in self.line_faults(line):
                self.fault(number, fault)
        return self.faults

    def line_faults(self, line):
        for link in LINK.finditer(line):
            yield from self.link_faults(link[1] or link[2])
        for code in CODE.findall(line):
            if code.startswith(("uso ", "uso-bench ")) and "<" not in code:
                yield from binary_faults(code.replace("[", "").replace("]", "").split())
            elif re.match(r"--[a-z]", code) and re.split(r"[ =]", code)[0] not in all_flags():
                yield f"there is no option {code}"
            elif PATH.fullmatch(code) and not any((place / code).exists() for place in (ROOT, self.path.parent)):
                yield f"there is no {code}"
            elif re.fullmatch(r"USO_[A-Z0-9_]+", code) and not is_known(code):
                yield f"nothing reads {code}"

    def link_faults(self, link):
        if re.match(r"[a-z]+:", link):
            return
        place, _, heading = link.partition("#")
        target = (self.path.parent / place).resolve() if place else self.path
        if not target.exists():
            yield f"the link {link} leads nowhere"
        elif heading and heading not in headings(target):
            yield f"{place or 'this file'} has no heading #{heading}"


def commands(text):
    """The simple commands of a script, each as its words."""
    pending = ""
    for line in text.splitlines():
        pending += line.removesuffix("\\") + ("\n" if not line.endswith("\\") else " ")
        if line.endswith("\\"):
            continue
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            # A quotation goes on in the next line.
            continue
        # What is run within a quotation.
        for inner in re.findall(r"\$\(([^()]+)\)", pending):
            yield inner.split()
        pending, command = "", []
        for word in [*words, ";"]:
            if not re.fullmatch(r"[();<>|&]+", word):
                command.append(word)
            elif command:
                yield command
                command = []
    if pending:
        raise ValueError("a quotation is not closed")


def command_faults(words):
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    if not words:
        return
    for word in words:
        if PATH.fullmatch(word) and not (ROOT / word).exists():
            yield f"there is no {word}"
    name = Path(words[0]).name
    if name in BINARIES:
        yield from binary_faults([name, *words[1:]])
    elif words[:2] == ["cargo", "run"]:
        package, arguments = words[words.index("-p") + 1], words[words.index("--") + 1 :]
        yield from binary_faults([package, *arguments])
    elif words[0].startswith("ops/"):
        script = ROOT / words[0]
        if not os.access(script, os.X_OK):
            yield f"{words[0]} cannot be run"
        for word in words[1:]:
            if word.startswith("-") and word not in script.read_text():
                yield f"{words[0]} has no {word}"
    elif name not in OTHERS:
        yield f"{name} is no command that is known here"


def binary_faults(words):
    """What is wrong with a call of one of our binaries: subcommands and options that are not there."""
    name, rest = words[0], words[1:]
    if not BINARIES[name].exists():
        yield f"there is no {BINARIES[name]}: cargo build --workspace --release --locked"
        return
    path = ()
    while True:
        subcommands, flags = described(name, path)
        if not subcommands or not rest or not re.fullmatch(r"[a-z][a-z-]*", rest[0]):
            break
        if rest[0] not in subcommands:
            yield f"there is no {' '.join([name, *path, rest[0]])}"
            return
        path, rest = (*path, rest[0]), rest[1:]
    for word in rest:
        flag = word.split("=")[0]
        if re.match(r"--?[a-zA-Z]", flag) and flag not in flags:
            yield f"{' '.join([name, *path])} has no {flag}"


@cache
def described(name, path):
    """The subcommands and the options that a command's help names."""
    said = subprocess.run([BINARIES[name], *path, "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", said, re.MULTILINE)
    subcommands = re.findall(r"^  ([a-z-]+)", listed[1], re.MULTILINE) if listed else []
    return [word for word in subcommands if word != "help"], set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", said))


@cache
def all_flags():
    """The options of all commands of our binaries, and of our scripts."""
    flags = set()

    def walk(name, path):
        subcommands, its = described(name, path)
        flags.update(its)
        for subcommand in subcommands:
            walk(name, (*path, subcommand))

    for name, binary in BINARIES.items():
        if binary.exists():
            walk(name, ())
    for script in (ROOT / "ops").glob("*.sh"):
        flags.update(re.findall(r"--[a-z][a-z-]+", script.read_text()))
    return flags


@cache
def is_known(variable):
    """Whether anything but a paper names a variable."""
    places = ["crates", "ops", "tests", "docker-compose.yml"]
    return subprocess.run(["grep", "-rqw", "--exclude=*.md", variable, *places], cwd=ROOT).returncode == 0


@cache
def headings(path):
    """The names under which the headings of a file are linked."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.replace("`", "")).strip().lower().replace(" ", "-") for title in titles}


def run(papers):
    """Runs what is to be run; gives what failed."""
    if not any(is_run for paper in papers for _, is_run, _ in paper.blocks):
        return []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        fleet = [ROOT / "ops/fleet.sh", "start", work / "fleet"]
        environment = {**os.environ, "USO_BIN": str(USO), "PATH": f"{USO.parent}:{os.environ['PATH']}"}
        try:
            started = subprocess.run(fleet, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            environment["USO_API"] = started.stdout.strip()
            for place in ("crates", "ops"):
                (work / place).symlink_to(ROOT / place)
            (work / "target").mkdir()
            (work / "target/release").symlink_to(USO.parent)
            (work / "uso-data").symlink_to("fleet/data")
            return [fault for paper in papers for fault in run_one(paper, work, environment)]
        finally:
            subprocess.run([fleet[0], "stop", fleet[2]], check=False)


def run_one(paper, work, environment):
    blocks = [(number, text) for number, is_run, text in paper.blocks if is_run]
    if not blocks:
        return []
    name, address = paper.path.relative_to(ROOT), environment["USO_API"].removeprefix("http://")
    script = "set -euo pipefail\n"
    for number, text in blocks:
        script += f"echo '== {name}:{number}'\n{text.replace(ADDRESS, address)}\n"
    (work / "script").write_text(script)
    log = work / "log"
    with log.open("w") as out:
        ran = subprocess.run(
            ["bash", "script"], cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=LONGEST_S
        )
    if ran.returncode == 0:
        print(f"{name}: {len(blocks)} blocks ran")
        return []
    said = log.read_text(errors="replace").splitlines()
    return [f"{name}: a block failed; it said last:", *(f"    {line}" for line in said[-30:])]


def main():
    named = [Path(name).resolve() for name in sys.argv[1:]]
    all_papers = [*ROOT.glob("*.md"), *ROOT.glob("ops/docs/*.md"), *ROOT.glob("crates/*/README.md")]
    papers = [Paper(path) for path in named or sorted(all_papers)]
    faults = [fault for paper in papers for fault in paper.check()]
    print(f"{sum(len(paper.blocks) for paper in papers)} blocks in {len(papers)} documents were checked")
    faults += run(papers)
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
