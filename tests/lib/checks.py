# SPDX-License-Identifier: BSD-3-Clause
"""Checks that read the tree and run none of it.

Each is a function without arguments that returns a list of complaints.
"""
import json
import re
import subprocess
from pathlib import Path

from .paths import ROOT

MAX_LINES = 700


def files():
    """Every file of the project that is not ignored, that exists."""
    run = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if run.returncode == 0:
        names = run.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if not {".git", "build", "__pycache__"} & set(p.parts)]
    return sorted(n for n in names if (ROOT / n).is_file())


def c_files():
    return [n for n in files() if n.endswith((".c", ".h"))]


def read(name):
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def interpreter(name):
    """The interpreter that a script's first line names, or ""."""
    with open(ROOT / name, "rb") as file:
        line = file.readline(200)
    return line[2:].decode("utf-8", "replace").strip() \
        if line.startswith(b"#!") else ""


def is_python(name):
    return name.endswith(".py") or "python" in interpreter(name)


def is_shell(name):
    return name.endswith(".sh") or \
        re.search(r"\b(ba|da)?sh\b", interpreter(name)) is not None


def check_format():
    """Every C file is as .clang-format has it."""
    bad = []
    for name in c_files():
        run = subprocess.run(
            ["clang-format", "--dry-run", "-Werror", str(ROOT / name)],
            capture_output=True, text=True, check=False)
        if run.returncode:
            first = (run.stderr.splitlines() or ["?"])[0]
            bad.append(f"{first.replace(str(ROOT) + '/', '')}"
                       f" (mend: clang-format -i {name})")
    return bad


def check_spdx():
    """Every source file names its licence in its first three lines."""
    bad = []
    for name in files():
        source = name.endswith((".c", ".h", ".py", ".asl", ".build", ".sh")) \
            or interpreter(name)
        if not source:
            continue
        head = (read(name) or "").splitlines()[:3]
        if not any("SPDX-License-Identifier:" in line for line in head):
            bad.append(f"{name}: no SPDX line in its first three lines")
    return bad


def check_text():
    """No file is left half merged, ragged, or too long to be one subject."""
    bad = []
    for name in files():
        text = read(name)
        if text is None or not text:
            continue
        lines = text.split("\n")
        if lines[-1] != "":
            bad.append(f"{name}: no newline at its end")
        for number, line in enumerate(lines, 1):
            if line != line.rstrip() and not name.endswith(".md"):
                bad.append(f"{name}:{number}: blanks at the end of the line")
            if line.startswith(("<<<<<<< ", ">>>>>>> ")):
                bad.append(f"{name}:{number}: a merge's mark")
        if name.endswith((".c", ".h")) and len(lines) - 1 > MAX_LINES:
            bad.append(f"{name}: {len(lines) - 1} lines, more than "
                       f"{MAX_LINES}")
    return bad


def check_scripts():
    """Every script parses, and those with a #! line may be run."""
    bad = []
    for name in files():
        path = ROOT / name
        if interpreter(name) and not path.stat().st_mode & 0o100:
            bad.append(f"{name}: has a #! line but no run bit")
        if is_python(name):
            try:
                compile(path.read_text(encoding="utf-8"), name, "exec")
            except SyntaxError as error:
                bad.append(f"{name}:{error.lineno}: {error.msg}")
        elif is_shell(name):
            shell = "bash" if "bash" in interpreter(name) else "sh"
            run = subprocess.run([shell, "-n", str(path)],
                                 capture_output=True, text=True, check=False)
            if run.returncode:
                bad.append(run.stderr.strip())
    return bad


def compile_alone(name, compiler, language):
    """What the compiler says of a file that includes the header twice."""
    include = name.removeprefix("include/").removeprefix("src/")
    mark = f"<{include}>" if name.startswith("include/") else f'"{include}"'
    gnu = [] if name.startswith("include/") else ["-D_GNU_SOURCE"]
    standard = "-std=c17" if language == "c" else "-std=c++17"
    run = subprocess.run(
        [compiler, "-x", language, standard, "-fsyntax-only", "-Wall",
         "-Wextra", "-Werror", *gnu, f"-I{ROOT}/include", f"-I{ROOT}/src",
         "-"],
        input=f"#include {mark}\n#include {mark}\n", text=True,
        capture_output=True, check=False)
    return run.stderr if run.returncode else ""


def check_headers():
    """Every header compiles alone; the public ones as C++ as well."""
    bad = []
    for name in c_files():
        if not name.endswith(".h") or not name.startswith(("include/",
                                                           "src/")):
            continue
        said = compile_alone(name, "gcc", "c")
        if not said and name.startswith("include/"):
            said = compile_alone(name, "clang", "c++")
        if said:
            bad.append(f"{name}: {said.splitlines()[0]}")
    return bad


def check_core_includes():
    """The cores include C's freestanding headers and <vmem/...> alone."""
    allowed = {"stddef.h", "stdint.h", "stdbool.h", "assert.h", "errno.h",
               "string.h", "limits.h", "stdatomic.h", "stdalign.h"}
    bad = []
    for name in c_files():
        if not name.startswith(("src/device/", "src/driver/", "src/virtio/",
                                "include/vmem/")):
            continue
        for found in re.finditer(r'^#\s*include\s*([<"])([^>"]+)[>"]',
                                 read(name) or "", re.M):
            mark, header = found.groups()
            local = mark == '"' and (ROOT / name).parent.joinpath(
                header).is_file()
            if header not in allowed and not header.startswith("vmem/") \
                    and not local:
                bad.append(f"{name}: includes {header}")
    return bad


def openapi_path():
    found = sorted(ROOT.glob("docs/openapi.json"))
    return found[0] if found else None


def check_openapi():
    """The API's description is well formed and all its references lead
    somewhere. (That the server answers so is an integration test.)"""
    path = openapi_path()
    if not path:
        return ["docs/openapi.json is missing"]
    try:
        api = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        return [f"docs/openapi.json:{error.lineno}: {error.msg}"]
    bad = []
    if not str(api.get("openapi", "")).startswith("3."):
        bad.append("docs/openapi.json: not OpenAPI 3")
    if not api.get("paths"):
        bad.append("docs/openapi.json: no paths")

    def walk(node, where):
        items = node.items() if isinstance(node, dict) else \
            enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            if key == "$ref" and isinstance(value, str):
                target = api
                for part in value.removeprefix("#/").split("/"):
                    target = target.get(part) \
                        if isinstance(target, dict) else None
                if target is None:
                    bad.append(f"{where}: {value} leads nowhere")
            walk(value, f"{where}/{key}")

    walk(api, "docs/openapi.json")
    for where, methods in api.get("paths", {}).items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and method != "parameters" and \
                    not operation.get("responses"):
                bad.append(f"{method.upper()} {where}: no responses")
    return bad


def check_quotes():
    """What README.md quotes of a file is what stands in the file."""
    text = read("README.md")
    quotes = re.findall(r"<!-- (\S+) -->\n```\w*\n(.*?)```\n<!-- /", text,
                        re.S)
    if not quotes:
        return ["README.md quotes nothing"]
    return [f"README.md: the quote of {name} is not what it holds"
            for name, quote in quotes if quote != read(name)]


def check_links():
    """Every relative link in the documentation leads to a file."""
    bad = []
    for name in files():
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", read(name)):
            if not (ROOT / name).parent.joinpath(target).exists():
                bad.append(f"{name}: {target} does not exist")
    return bad


CHECKS = {
    "check/format": check_format,
    "check/spdx": check_spdx,
    "check/text": check_text,
    "check/scripts": check_scripts,
    "check/headers": check_headers,
    "check/core-includes": check_core_includes,
    "check/openapi": check_openapi,
    "check/quotes": check_quotes,
    "check/links": check_links,
}
