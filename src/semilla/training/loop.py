"""The training loop, on one screen."""

from __future__ import annotations

import torch
from torch.nn.utils import clip_grad_norm_

from semilla.config import Settings
from semilla.contract import Run, Task
from semilla.errors import Interrupted
from semilla.randomness import generator, torch_seed
from semilla.training.batches import Batches
from semilla.training.evaluate import Evaluation
from semilla.training.monitor import check_finite, check_learns
from semilla.training.optimizers import set_learning_rate
from semilla.training.recorder import Recorder
from semilla.training.signals import StopRequest
from semilla.training.state import State


def train_loop(
    state: State, task: Task, batches: Batches, settings: Settings, evaluation: Evaluation | None, recorder: Recorder
) -> None:
    """Take the run from ``state.step`` to its last step.

    Raises:
        TrainingError: the loss is not finite, or nothing learns.
        Interrupted: SIGINT or SIGTERM arrived; the step it arrived in is finished and saved.
    """
    net, ema, method, optimizer, monitor = state.net, state.ema, state.method, state.optimizer, state.monitor
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    device, steps = next(net.parameters()).device, settings.steps or 0
    with StopRequest() as stop:
        for step in range(state.step, steps):
            seed_torch(torch_seed(settings.seed, step), device)  # dropout, too, is a function of (seed, step)
            batch = batches.at(step)
            run = Run(task, ema.net, step, steps, generator(settings.seed, "method", step))
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                losses, logs = method(net, batch, run)
                total = torch.stack(list(losses.values())).sum()

            log_now = due(step + 1, settings.log_every, steps)
            save_now = due(step + 1, settings.save_every, steps) or stop.signal is not None
            if device.type == "cpu" or log_now or save_now:  # elsewhere looking at the loss would wait for the device
                check_finite(total, losses, step)
            check_learns(total)
            set_learning_rate(optimizer, settings, run.progress)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            if settings.clip is not None:
                clip_grad_norm_(weights, settings.clip)
            optimizer.step()
            ema.update(step + 1)
            monitor.add(losses, logs, total)
            state.step = step + 1

            evaluate_now = due(step + 1, settings.evaluate_every, steps)
            scores = evaluation.scores(ema.net) if evaluation is not None and evaluate_now else {}
            if log_now or scores:
                recorder.log(state, scores, settings)
            stopped = stop.signal
            if save_now or stopped is not None:
                recorder.save(state)
            if stopped is not None:
                raise Interrupted(stopped, saved=recorder.folder is not None)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed PyTorch's generators of the CPU and of the device in use.

    ``torch.manual_seed`` also queues a call for every kind of device there might be, which costs milliseconds.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def due(step: int, every: int | None, steps: int) -> bool:
    """Whether something that happens every so many steps, and after the last, happens now."""
    return step == steps or (every is not None and step % every == 0)
