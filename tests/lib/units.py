# SPDX-License-Identifier: BSD-3-Clause
"""Builds of the tree, and the unit tests in them.

The unit tests are meson's, one program a subject; a program's own tests are
counted one by one, from the TAP that cmocka prints. Sanitized builds count a
program as one test.
"""
import json
import os
import re
import signal
import subprocess
import time

from .paths import BUILD, ROOT

TAP = re.compile(r"^(not )?ok \d+ (-|# SKIP) (\S+)")

SANITIZERS = {
    "asan": {
        "options": ["-Db_sanitize=address,undefined", "-Db_lundef=false"],
        "env": {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:"
                                "allocator_may_return_null=1",
                "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
        "suite": None,
    },
    "tsan": {
        "options": ["-Db_sanitize=thread", "-Db_lundef=false"],
        "env": {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"},
        "suite": "threads",
    },
}


class BuildError(Exception):
    pass


def tail(text, lines=25):
    rows = text.rstrip().splitlines()
    return "\n".join(rows[-lines:])


def run(command, **kwargs):
    return subprocess.run(command, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **kwargs)


def configure(folder, options=(), compiler=None):
    if (folder / "build.ninja").exists():
        return
    env = dict(os.environ)
    if compiler:
        env["CC"] = compiler
    done = run(["meson", "setup", str(folder), str(ROOT), *options], env=env)
    if done.returncode:
        raise BuildError(tail(done.stdout))


def compile_(folder, targets=()):
    """Build; a warning counts as an error, also one that no flag makes so."""
    done = run(["ninja", "-C", str(folder), *targets])
    if done.returncode:
        failed = [line for line in done.stdout.splitlines()
                  if re.search(r"error:|warning:|undefined reference", line)]
        raise BuildError("\n".join(failed[:20]) or tail(done.stdout))
    warned = [line for line in done.stdout.splitlines() if "warning:" in line]
    if warned:
        raise BuildError("\n".join(warned[:20]))


def introspect(folder, what):
    done = subprocess.run(["meson", "introspect", f"--{what}", str(folder)],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BuildError(f"meson introspect --{what} failed in {folder}")
    return json.loads(done.stdout)


def programs(folder):
    """meson's tests: {name: {cmd, env, suite, timeout, targets}}."""
    return {test["name"].replace(" ", "-"): test
            for test in introspect(folder, "tests")}


def build_dependencies(folder, test):
    """Ninja targets that a test program needs."""
    by_id = {t["id"]: t for t in introspect(folder, "targets")}
    paths = [name for ident in test.get("depends", []) if ident in by_id
             for name in by_id[ident]["filename"]]
    return [os.path.relpath(p, folder) for p in paths]


def execute(test, extra_env=None):
    """Run one program; returns (exit status, output, seconds)."""
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    env.update(test.get("env") or {})
    env.update(extra_env or {})
    began = time.monotonic()
    limit = test.get("timeout") or 0
    try:
        done = run(test["cmd"], env=env, cwd=test.get("workdir") or None,
                   timeout=limit * 4 if limit > 0 else None)
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        status = -signal.SIGALRM
        output = (late.stdout or b"")
        if isinstance(output, bytes):
            output = output.decode("utf-8", "replace")
        output += f"\nnot done after {limit * 4} s"
    return status, output, time.monotonic() - began


def died(status):
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"


def parse_tap(output):
    """[(name, passed, skipped, what was said before the result)]."""
    results, said = [], []
    for line in output.splitlines():
        found = TAP.match(line)
        if not found:
            said.append(line)
            continue
        bad, kind, name = found.groups()
        skipped = kind == "# SKIP"
        results.append((name, skipped or not bad, skipped, said))
        said = []
    return results, said


def subtests(folder, program):
    """Names of the tests in a program's sources, so that a pattern can be
    matched against them before anything runs."""
    names = set()
    for target in introspect(folder, "targets"):
        if target["id"] not in program.get("depends", []):
            continue
        for group in target["target_sources"]:
            for path in group.get("sources", []):
                try:
                    with open(path, encoding="utf-8") as file:
                        names.update(re.findall(
                            r"cmocka_unit_test\w*\(\s*(\w+)", file.read()))
                except OSError:
                    pass
    return names


def build_folder(kind):
    return BUILD if kind == "gcc" else BUILD / "tests" / kind
