"""Archives of the standard library's packages, made and checked with the system's own tools.

Teaches: **`shell`.** A command is a task like any other: its output streams into its log,
its exit code decides, its children die with it. A list may hold results of other tasks;
a string goes through the shell. `tar`, `cksum`, `wc`, `grep` and `sort` are POSIX.

    flowforge run sample_flows/shell_tools.py
    flowforge run sample_flows/shell_tools.py -p packages=json,xml,asyncio
"""

import sysconfig
from pathlib import Path
from shlex import quote
from tarfile import TarFile

from engine import ShellResult, shell, task, workflow

LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "concurrent", "email", "http", "json", "logging", "urllib", "xml")


@task
def prepare(out: Path) -> None:
    """A place for the archives."""
    out.mkdir(parents=True, exist_ok=True)


@task
def verify(archive: Path, checksum: ShellResult) -> int:
    """Read the archive with Python, compare its size with what `cksum` saw; files in it."""
    size = int(checksum.stdout.split()[1])
    if size != archive.stat().st_size:
        raise ValueError(f"{archive} has {archive.stat().st_size} bytes, cksum saw {size}")
    with TarFile.open(archive) as tar:
        return sum(member.isfile() for member in tar)


@task
def inventory(
    packages: list[str], files: list[int], lines: list[ShellResult], needed: ShellResult
) -> dict[str, tuple[int, int]]:
    """Files and lines of each package."""
    table = {p: (n, int(str(r))) for p, n, r in zip(packages, files, lines, strict=True)}
    for package, (count, length) in table.items():
        print(f"{package:12} {count:4} files {length:7,} lines")
    print(f"most imported, with its count: {needed.stdout.splitlines()[0].split()}")
    return table


@workflow
def shell_tools(packages: list[str] = list(PACKAGES), out: Path = Path("out/archives")):  # noqa: B006 - only read
    """Pack each package, take its checksum, check that, count; then a ranking of imports."""
    ready = prepare(out)
    files, lines = [], []
    for package in packages:
        archive = out / f"{package}.tar"
        packed = shell(
            ["tar", "-cf", archive, "-C", LIBRARY, package], name=f"pack-{package}", timeout=60
        ).after(ready)
        checksum = shell(["cksum", archive], name=f"checksum-{package}").after(packed)
        files.append(verify.options(name=f"verify-{package}")(archive, checksum))
        lines.append(shell(
            f"find {quote(str(LIBRARY / package))} -name '*.py' -exec cat {{}} + | wc -l",
            name=f"lines-{package}",
        ))
    needed = shell(
        f"grep -hE '^import [a-z]+$' {quote(str(LIBRARY))}/*.py | sort | uniq -c | sort -rn",
        name="imports",
    )
    return inventory(packages, files, lines, needed)


if __name__ == "__main__":
    print(shell_tools.run().result)
