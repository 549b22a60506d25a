"""Sets this checkout up and runs something in it, from nothing but a Python.

    python3 dev.py census [FLAGS]     the census of the standard library
    python3 dev.py test [PYTEST ARGS] the tests
    python3 dev.py check              ruff, mypy and import-linter
    python3 dev.py setup              only the virtual environment, .venv

Rule 1: any Python 3 can start this file; it goes on with one that is new enough (3.11).
Rule 2: nothing is installed outside of .venv, and nothing again that is there already.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("FLOWFORGE_VENV") or ROOT / ".venv")
OLDEST = (3, 11)
NEWEST = (3, 14)

#: Test processes. More gain nothing on the two processors that CI has.
TEST_WORKERS = 2


def main(arguments):
    """Do what is asked for; returns the exit code."""
    command, *rest = arguments or ["help"]
    if command not in COMMANDS:
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    use_new_python()
    return COMMANDS[command](rest)


def use_new_python():
    """Start anew with a Python that is new enough, if this one is not."""
    if sys.version_info[:2] >= OLDEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and works([found, "-c", ""]):
            sys.exit(subprocess.call([found, *sys.argv]))
    sys.exit("FlowForge needs Python 3.11 or newer; install one, and run this with it")


# -- the environment ---------------------------------------------------------------------


def environment(extra=""):
    """The environment's Python, with the project and an extra of it installed."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not works([str(python), "-m", "pip", "--version"]):
        create(str(python))
    stamp = VENV / f"installed-{extra or 'project'}"
    wanted = fingerprint()
    # Whatever extra was installed, the project was too.
    known = [stamp] if extra else list(VENV.glob("installed-*"))
    if not any(s.exists() and s.read_text() == wanted for s in known):
        print(f"installing into {VENV}", flush=True)
        target = f"{ROOT}[{extra}]" if extra else str(ROOT)
        run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
             "-e", target])
        stamp.write_text(wanted)
    return str(python)


def create(python):
    """Make the environment in the first way that works here."""
    print(f"creating {VENV}", flush=True)
    ways = [
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [sys.executable, "-m", "virtualenv", "-q", "--clear", str(VENV)],
        ["uv", "venv", "-q", "--clear", "--seed", "--python", sys.executable, str(VENV)],
    ]
    for way in ways:
        if works(way) and works([python, "-m", "pip", "--version"]):
            return
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"{sys.executable} cannot make a virtual environment; on Debian or Ubuntu: "
             f"apt install python{version}-venv (or anywhere: pip install virtualenv)")


def fingerprint():
    """Changes when what is installed may have to."""
    project = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(project + sys.version.encode() + str(ROOT).encode()).hexdigest()


def works(command):
    """True if a command can be started and ends well; what it prints is dropped."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def run(command):
    """Run a command that must end well."""
    code = subprocess.call(command, cwd=str(ROOT))
    if code:
        sys.exit(code)


def become(command):
    """Go on as another program, so that signals and the terminal are its own."""
    if os.name == "nt":
        return subprocess.call(command)
    os.execv(command[0], command)


# -- the commands ------------------------------------------------------------------------


def setup(rest):
    """Only the environment, with all that developing needs."""
    environment("dev")
    print(f"ready: {VENV}")
    return 0


def census(rest):
    """The sample flow that the README starts with."""
    flow = ROOT / "sample_flows" / "census.py"
    return become([environment(), "-m", "flowforge_tui", "run", str(flow), *rest])


def test(rest):
    """Every test, or those that are named."""
    os.chdir(str(ROOT))
    return become([environment("dev"), "-m", "pytest", "-n", str(TEST_WORKERS), *rest])


def check(rest):
    """Style, types and layers; all three, even if the first finds something."""
    python = environment("dev")
    layers = str(Path(python).with_name("lint-imports"))
    commands = [[python, "-m", "ruff", "check", "."], [python, "-m", "mypy"], [layers]]
    return max([subprocess.call(command, cwd=str(ROOT)) for command in commands])


COMMANDS = {"census": census, "test": test, "check": check, "setup": setup}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
