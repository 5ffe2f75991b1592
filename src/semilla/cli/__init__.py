"""The command line: one file for each command, thin: parse, call, print.

Commands are imported when they are called, so that ``semilla --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from semilla import __version__
from semilla.errors import Interrupted, ResourceError, SemillaError, UsageError
from semilla.text import clean

COMMANDS = {
    "demo": "See on real data what each method does with 40 labels.",
    "check": "Look at your data without training: bad files, copies, labels.",
    "generate": "Labeled pictures of text, drawn with fonts.",
    "train": "Train on your labels and your unlabeled data, with a verdict.",
    "pretrain": "Learn from all examples without labels, for train --init.",
    "compare": "Several methods on the same label draws.",
    "evaluate": "Score a finished run on held-out labels.",
    "report": "One page about a run, to read and to pass on.",
    "predict": "Label files with a finished run: CSV, JSON lines, Parquet.",
    "export": "ONNX, safetensors and a model card.",
    "embed": "Frozen features of a network, as data to train on.",
    "show": "How a run came about: command, data, verdict, settings.",
    "methods": "List the methods, or show one: paper, equations, hyperparameters.",
    "cache": "What the cache of decoded pictures holds; clear it.",
    "doctor": "Check this machine: versions, device, threads, cache.",
}

EXIT_CODES = """\b
Exit codes: 0 done · 1 internal error · 2 wrong usage or setting · 3 input data
4 checkpoint or run folder · 5 training failed · 6 resources · 7 refused for safety
8 the unlabeled data hurt, with --fail-if-worse
130 stopped by SIGINT, 143 by SIGTERM; training saves a checkpoint first"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"semilla.cli.{name}").command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Commands: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No command {args[0]!r}. {hint}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="semilla")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Train with a few labels and many unlabeled examples.

    \b
    Start here:
      semilla demo                        what each method does, in under a minute
      semilla check photos/               what is in a folder, before anything is trained
      semilla train photos/               a model, and whether the unlabeled pictures helped
      semilla report runs/photos-1        all of it on one page
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug, as_json = "--debug" in arguments, "--json" in arguments
    if debug:  # wherever it stands: it is usually added at the end of a command that failed
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    try:
        with _terminable():
            code = cli.main(args=arguments, prog_name="semilla", standalone_mode=False) or 0
    except SemillaError as error:
        code = _report(
            error.exit_code, str(error), as_json, {"code": error.code, "message": error.message, "fix": error.fix}
        )
    except Interrupted as stop:
        code = _report(stop.exit_code, str(stop), as_json, {"code": "interrupted", "message": str(stop)})
    except click.ClickException as error:
        error.show()
        code = _report(error.exit_code, "", as_json, {"code": "usage", "message": error.format_message()})
    except SystemExit:  # click's way to end where the reader of a pipe has gone, as `| head` does
        if "PacifyFlush" not in type(sys.stdout).__name__:
            raise
        code = 0
    except OSError as error:
        known = _system(error)
        code = _report(
            known.exit_code, str(known), as_json, {"code": known.code, "message": known.message, "fix": known.fix}
        )
    except (KeyboardInterrupt, click.Abort):
        code = _report(128 + signal.SIGINT, "stopped", as_json, {"code": "interrupted", "message": "stopped"})
    except Exception as error:  # the last net: whatever was not foreseen ends in one line and exit code 1
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            memory = ResourceError(
                "R003", f"out of memory: {error}", "set a smaller unlabeled_batch, labeled_batch or width"
            )
            detail = {"code": memory.code, "message": memory.message, "fix": memory.fix}
            sys.exit(_report(memory.exit_code, str(memory), as_json, detail))
        if debug:
            traceback.print_exc()
        hint = "" if debug else "\n  fix: this is a bug in semilla; please report it with the output of --debug"
        text = f"error[internal]: {type(error).__name__}: {error}{hint}"
        code = _report(1, text, as_json, {"code": "internal", "message": str(error)})
    sys.exit(code)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what runs as Ctrl-C does, so that what is half written is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[Interrupted] = []

    def terminated(number: int, frame: object) -> NoReturn:
        arrived.append(Interrupted(number, saved=False))
        raise arrived[0]

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except Exception as error:  # whatever the signal broke into, such as Python's own code for threads, may make of it
        if arrived and not isinstance(error, Interrupted):
            raise arrived[0] from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _system(error: OSError) -> SemillaError:
    """What the system refused, in words: a file or folder that is missing or forbidden, or a device that is full."""
    where = f" {os.fsdecode(error.filename)!r}" if error.filename else ""
    said = f"{error.strerror or error}:{where}" if where else str(error.strerror or error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError("U014", said, "check the path and its permissions, or name another")
    return ResourceError("R001", said, "make room, or name another place; with --resume what is there is gone on with")


def _report(code: int, text: str, as_json: bool, error: dict[str, Any]) -> int:
    if text:
        click.echo("\n".join(map(clean, text.split("\n"))), err=True)
    if as_json:
        click.echo(json.dumps({"ok": False, "exit_code": code, "error": error}))
    return code
