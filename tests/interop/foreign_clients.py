"""HTTP clients in other languages, each a program that performs a plan; and curl, which performs one push at a time."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.interop.pushes import Case, Result
from tests.interop.tools import HERE, find_program, install_node_modules, missing

BUILD_TIMEOUT_S = 110  # Go compiles its own library on a new machine
RUN_TIMEOUT_S = 60
PAUSE_S = 0.01
JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # it runs for a second
SPLIT = b"\n--healthz--\n"

BUILDS = HERE / ".build"


async def by_java(url: str, plan: Sequence[Case]) -> list[Result]:
    classpath = await asyncio.to_thread(compile_java)
    return await perform([find_program("java"), *JVM_OPTIONS, "-cp", classpath, "Pushes"], url, plan)


async def by_go(url: str, plan: Sequence[Case]) -> list[Result]:
    return await perform([await asyncio.to_thread(compile_go)], url, plan)


async def by_node(url: str, plan: Sequence[Case]) -> list[Result]:
    node = find_program("node")
    await asyncio.to_thread(install_node_modules)
    return await perform([node, str(HERE / "pushes.mjs")], url, plan)


async def perform(command: Sequence[str], url: str, plan: Sequence[Case]) -> list[Result]:
    """Run a program with the address of the service and the file with the plan."""
    with tempfile.NamedTemporaryFile("w", prefix="pushes-", suffix=".tsv") as file:
        file.write("".join(f"{case.line}\n" for case in plan))
        file.flush()
        output = await run([*command, url, file.name])
    return [Result.parse(line) for line in output.decode().splitlines()]


async def by_curl(url: str, plan: Sequence[Case]) -> list[Result]:
    curl = find_program("curl")
    return [await _push_by_curl(curl, url, case) for case in plan]


async def _push_by_curl(curl: str, url: str, case: Case) -> Result:
    """One process for each push: it takes the second request to the same connection."""
    body = ["--data-binary", "@-"] if case.mode.endswith("-one") else ["--request", "POST", "--upload-file", "-"]
    shown = ["--silent", "--show-error", "--http2", "--write-out", SPLIT.decode() + "%{http_code}" + SPLIT.decode()]
    post = [*shown, *body, "--header", f"Content-Type: {case.content_type}", url + case.path]
    output = await run([curl, *post, "--next", *shown, f"{url}/healthz"], case.parts)
    answer, status, after, next_status, _ = output.split(SPLIT)
    return Result(int(status), answer, int(next_status), after)


async def run(command: Sequence[str], parts: Sequence[bytes] = ()) -> bytes:
    """Return what it prints. Fails if it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            output, errors = await asyncio.gather(_communicate(process, parts), _errors_of(process))
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return output


async def _communicate(process: asyncio.subprocess.Process, parts: Sequence[bytes]) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    for number, part in enumerate(parts):
        if number:
            await asyncio.sleep(PAUSE_S)
        process.stdin.write(part)
        with suppress(ConnectionError):  # it has ended, and its status says why
            await process.stdin.drain()
    process.stdin.close()
    return await process.stdout.read()


async def _errors_of(process: asyncio.subprocess.Process) -> bytes:
    assert process.stderr is not None
    return await process.stderr.read()


@cache
def compile_java() -> str:
    """Return the class path of Pushes and what it needs."""
    javac, source = find_program("javac"), HERE / "java"
    libraries = BUILDS / "classpath"
    BUILDS.mkdir(parents=True, exist_ok=True)
    if not _is_resolved(libraries, source / "pom.xml"):
        goal = ["dependency:build-classpath", f"-Dmdep.outputFile={libraries}"]
        build([find_program("mvn"), "--quiet", "--batch-mode", "--file", str(source / "pom.xml"), *goal])
    classpath = f"{BUILDS}{os.pathsep}{libraries.read_text()}"
    build([javac, "-cp", classpath, "-d", str(BUILDS), str(source / "Pushes.java")])
    return classpath


def _is_resolved(libraries: Path, pom: Path) -> bool:
    if not libraries.is_file() or libraries.stat().st_mtime < pom.stat().st_mtime:
        return False
    return all(Path(path).is_file() for path in libraries.read_text().split(os.pathsep))


@cache
def compile_go() -> str:
    """Return the path of the program. Without optimisation: on a new machine all of net/http is compiled."""
    program = BUILDS / "go"
    flags = ["-buildvcs=false", "-gcflags=all=-N -l", "-ldflags=-s -w"]
    build([find_program("go"), "build", *flags, "-o", str(program), "."], HERE / "go")
    return str(program)


def build(command: Sequence[str], directory: Path = HERE) -> None:
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    try:
        subprocess.run(
            command,
            cwd=directory,
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        missing(f"{command[0]} failed: {getattr(error, 'stdout', '')}{getattr(error, 'stderr', error)}")
