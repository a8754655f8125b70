#!/usr/bin/env python3
"""Compiles the CUDA kernels for every architecture that they are for, without a GPU, and bounds what they take.

    ops/check-kernels.py

Needs the Python package nvidia-cuda-nvrtc (ops/check-kernels.sh installs it). Prints registers of a thread, spilled
bytes and shared memory of each kernel, as the compiler reports them; the exit code is 1 if one is over its bounds.
"""

import ctypes
import re
import sys
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "crates/engine/src/kernels"
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_120"]

# Most registers of a thread, by the start of a kernel's name. An SM has 65,536: attention takes it alone with a block
# of 256 threads; the others share it among at least 1,024 threads.
REGISTERS = {"attend_f32": 128, "attend_": 192, "": 64}
# Nothing may be spilled, and what is not asked for at the launch is small.
SPILLED, SHARED = 0, 1024


def source():
    """The sources in the order of the engine."""
    names = re.findall(r'include_str!\("([^"]+\.cuh?)"\)', (FOLDER / "mod.rs").read_text())
    return "".join((FOLDER / name).read_text() for name in names)


def library():
    found = []
    # The compiler asks for the first by its name, so it has to be there already.
    for name in ("libnvrtc-builtins.so.*", "libnvrtc.so.*"):
        for folder in find_spec("nvidia").submodule_search_locations:
            found += [path for path in sorted(Path(folder).glob(f"*/lib/{name}")) if ".alt." not in path.name]
    if len(found) < 2:
        sys.exit("there is no libnvrtc in the package nvidia-cuda-nvrtc")
    return [ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL) for path in found][-1]


def compiled(nvrtc, text, architecture):
    """The compiler's log for an architecture."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v"]
    options = [option.encode() for option in options]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    log = log.value.decode()
    if failed:
        sys.exit(f"{architecture}: {log}")
    return log


def measured(log):
    """Registers, spilled bytes and shared bytes of each kernel in a log."""
    kernels = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.split("'", 1)[0]
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", part))
        used = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        if used is None:
            sys.exit(f"the compiler's log says nothing on the registers of {name}:\n{part}")
        kernels[name] = (int(used[1]), spilled, int(shared[1]) if shared else 0)
    return kernels


def bound(name):
    return next(most for start, most in REGISTERS.items() if name.startswith(start))


def main():
    text, nvrtc = source(), library()
    figures = {architecture: measured(compiled(nvrtc, text, architecture)) for architecture in ARCHITECTURES}
    names = sorted(figures[ARCHITECTURES[0]])
    if len(names) < len(re.findall(r"^KERNEL\(", text, re.M)):
        sys.exit(f"the compiler's log names {len(names)} kernels only")
    over = []
    print("registers / spilled bytes / shared bytes")
    print(f"{'kernel':<26}" + "".join(f"{architecture:>16}" for architecture in ARCHITECTURES))
    for name in names:
        cells = [figures[architecture][name] for architecture in ARCHITECTURES]
        print(f"{name:<26}" + "".join(f"{'/'.join(map(str, cell)):>16}" for cell in cells))
        for architecture, (registers, spilled, shared) in zip(ARCHITECTURES, cells):
            if registers > bound(name) or spilled > SPILLED or shared > SHARED:
                over.append(f"{name} on {architecture}")
    if over:
        print(f"over the bounds ({REGISTERS}, {SPILLED}, {SHARED}): " + ", ".join(over), file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
