"""Runs ``semilla`` commands in forks of one process that has imported PyTorch once and computed nothing.

A fork starts in milliseconds where a fresh interpreter needs seconds, and can be killed just as well. Run as a script,
this file is that process; `Launcher` talks to it, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


class Launcher:
    """Starts commands; use as a context."""

    def __enter__(self):
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *exception):
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

    def start(self, arguments, folder, fault=None):
        """Begin a command whose streams go to files in ``folder``."""
        return Started(self, folder, self.ask(arguments=arguments, folder=str(folder), fault=fault)["pid"])

    def ask(self, **order):
        print(json.dumps(order), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())


class Started:
    """A command under way, with the words of `subprocess.Popen`."""

    def __init__(self, launcher, folder, pid):
        self._launcher, self._folder, self.pid, self.returncode = launcher, folder, pid, None

    def poll(self):
        """The exit code, negative for a signal, or None. The process stays a zombie until then, so its pid is safe."""
        if self.returncode is None:
            self.returncode = self._launcher.ask(poll=self.pid)["code"]
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def text(self, stream):
        """What was written so far to ``out`` or ``err``."""
        return (self._folder / f"{stream}.txt").read_text()


def _serve():
    # Imported once here, so that every fork has them without paying again.
    import sklearn.datasets  # noqa: F401
    import torch._dynamo  # noqa: F401  (what the first optimizer imports)

    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            answer = {"pid": os.fork()}
            if answer["pid"] == 0:
                _command(order)
        print(json.dumps(answer), flush=True)


def _command(order):
    from semilla import cli

    if order["fault"]:
        os.environ["SEMILLA_FAULT"] = order["fault"]
    for descriptor, name in ((1, "out"), (2, "err")):
        target = os.open(Path(order["folder"]) / f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, descriptor)
    sys.argv = ["semilla", *order["arguments"]]
    code = 1
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
