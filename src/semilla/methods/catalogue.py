"""The catalogue of methods: a literal table that needs no PyTorch, so that names and values are checked in no time.

Nothing registers itself: a method is in the catalogue because it is written here, and a test holds every entry against
its class.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import TYPE_CHECKING

from semilla.config import RECOGNISERS, Parameter, nearest, task_of
from semilla.errors import DataError, UsageError

if TYPE_CHECKING:
    from semilla.contract import Method

VIEWS = ("none", "weak", "strong", "lecture", "photometric", "drop", "swap", "contrastive")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the catalogue.

    Attributes:
        name: what the user types.
        title: the method in one line.
        class_name: the class in ``semilla.methods.<name>``.
        paper: authors, title, place, arXiv number.
        equations: the loss, as in the method's file.
        views: what it sees of labeled and unlabeled examples.
        memory: what it remembers between steps.
        tasks: the kinds of label it is defined for.
        hyperparameters: by name.
        own: the class itself, for a method that does not come with semilla.
    """

    name: str
    title: str
    class_name: str
    paper: str
    equations: tuple[str, ...]
    views: str
    memory: str
    tasks: tuple[str, ...] = ("classes", "ctc", "attention")
    hyperparameters: dict[str, Parameter] = field(default_factory=dict)
    own: type[Method] | None = None

    @property
    def file(self) -> str:
        """The method's file inside the package, or the module of a method of your own."""
        return f"semilla/methods/{self.name}.py" if self.own is None else self.own.__module__

    def load(self) -> type[Method]:
        """The class; imports PyTorch."""
        if self.own is not None:
            return self.own
        method: type[Method] = getattr(import_module(f"semilla.methods.{self.name}"), self.class_name)
        return method


_SHARE, _POSITIVE = (0.0, 1.0), (0.0, math.inf)
_RAMP_SHAPE = Parameter("shape of the ramp", "linear", "sigmoid", choices=("linear", "sigmoid"))
_VIEW = Parameter("view of every example", "weak", "weak", choices=VIEWS)
_LABELED_VIEW = Parameter("view of the labeled examples", "weak", "weak", choices=VIEWS)
_UPDATE_BN = Parameter("unlabeled passes move BatchNorm's running statistics", False, "false in the later references")
_JOINT = Parameter("one pass over all views with common BatchNorm statistics", False, "true")
_STUDENT_VIEWS = Parameter("views of target and student", ("weak", "strong"), "weak, strong", choices=VIEWS, length=2)
_ALIGN = Parameter("shift the guesses until their mean is that of the labels", False, "false; true in ReMixMatch")
_RELATIVE = Parameter("τ is a share of the mean confidence in labeled examples", False, "false; true in AdaMatch")
_CONSISTENCY_ON = Parameter("which examples must agree", "unlabeled", "all", choices=("unlabeled", "all"))

METHODS: dict[str, Entry] = {
    "supervised": Entry(
        name="supervised",
        title="the labeled examples alone: what every other method has to beat",
        class_name="Supervised",
        paper="the baseline of Oliver et al., Realistic evaluation of deep semi-supervised learning algorithms, "
        "NeurIPS 2018, arXiv 1804.09170",
        equations=("L = mean over x of CE(y, p(view(x)))",),
        views="labeled: the chosen views, their losses averaged; unlabeled: none",
        memory="none",
        hyperparameters={"views": Parameter("views whose losses are averaged", ("weak",), "weak", choices=VIEWS)},
    ),
    "pi_model": Entry(
        name="pi_model",
        title="two random passes over the same example should agree",
        class_name="PiModel",
        paper="Laine & Aila, Temporal ensembling for semi-supervised learning, ICLR 2017, arXiv 1610.02242",
        equations=("L = CE(x) + λ·w(t) · mean over u, classes of (p(u₂) − p(u₁))²",),
        views="labeled: weak; unlabeled: weak, weak",
        memory="none",
        hyperparameters={
            "weight": Parameter("λ of the consistency loss", 10.0, "100·N_labeled/N; 10 in later code", _POSITIVE),
            "ramp": Parameter("share of the run over which λ grows", 0.4, "80 of 300 epochs", _SHARE),
            "ramp_shape": _RAMP_SHAPE,
            "view": _VIEW,
            "both_branches": Parameter("gradient through both passes", False, "true"),
            "consistency_on": _CONSISTENCY_ON,
            "update_bn": _UPDATE_BN,
        },
    ),
    "mean_teacher": Entry(
        name="mean_teacher",
        title="the student agrees with the average of its own past weights",
        class_name="MeanTeacher",
        paper="Tarvainen & Valpola, Mean teachers are better role models, NeurIPS 2017, arXiv 1703.01780",
        equations=(
            "L = CE(x) + λ·w(t) · mean over u, classes of (p_θ(u₂) − p_θ′(u₁))²",
            "θ′ₜ = α θ′ₜ₋₁ + (1 − α) θₜ,  α = min(1 − 1/(step + 1), decay)",
        ),
        views="labeled: weak; unlabeled: weak (teacher), weak (student)",
        memory="the averaged network (kept by the training loop for every method)",
        hyperparameters={
            "weight": Parameter("λ of the consistency loss", 50.0, "100; 50 in later code", _POSITIVE),
            "ramp": Parameter("share of the run over which λ grows", 0.4, "5 of 180 epochs", _SHARE),
            "ramp_shape": _RAMP_SHAPE,
            "view": _VIEW,
            "teacher_view": Parameter("the teacher's; none: as view", None, "as view", choices=VIEWS, optional=True),
            "labeled_view": Parameter(
                "the labeled ones'; none: as view", None, "as view", choices=VIEWS, optional=True
            ),
            "decay": Parameter("the teacher's α; none: as ema_decay", None, "0.97 – 0.999", _SHARE, optional=True),
            "teacher_bn": Parameter(
                "the teacher's BatchNorm statistics", "batch", "batch", choices=("batch", "running")
            ),
            "consistency_on": _CONSISTENCY_ON,
            "update_bn": _UPDATE_BN,
        },
    ),
    "uda": Entry(
        name="uda",
        title="the prediction on a strong view follows the sharpened prediction on a weak one",
        class_name="UDA",
        paper="Xie et al., Unsupervised data augmentation for consistency training, NeurIPS 2020, arXiv 1904.12848",
        equations=(
            "q = sharpen(p(u_w), T)",
            "L = CE_TSA(x) + λ · mean over u of 1[max p(u_w) > τ] · KL(q ‖ p(u_s)) + ε · mean H(p(u_s))",
        ),
        views="labeled: weak; unlabeled: weak (target), strong (student)",
        memory="none",
        hyperparameters={
            "threshold": Parameter("τ of the mask, on the unsharpened prediction", 0.8, "0.8", _POSITIVE),
            "temperature": Parameter("T of the sharpening", 0.4, "0.4", (1e-3, math.inf)),
            "weight": Parameter("λ of the consistency loss", 1.0, "1", _POSITIVE),
            "annealing": Parameter(
                "training-signal annealing", None, "off for images", choices=("linear", "exp", "log"), optional=True
            ),
            "entropy": Parameter("ε of the entropy minimisation", 0.0, "0, or 0.1", _POSITIVE),
            "views": _STUDENT_VIEWS,
            "labeled_view": _LABELED_VIEW,
            "joint": _JOINT,
            "align": _ALIGN,
            "relative": _RELATIVE,
        },
    ),
    "pseudo_label": Entry(
        name="pseudo_label",
        title="the network's confident predictions are its labels",
        class_name="PseudoLabel",
        paper="Lee, Pseudo-Label: the simple and efficient semi-supervised learning method for deep neural networks, "
        "ICML workshop 2013",
        equations=("L = CE(x) + λ·w(t) · mean over u of 1[max p(u) > τ] · CE(argmax p(u), p(u))",),
        views="labeled: weak; unlabeled: weak",
        memory="none",
        hyperparameters={
            "threshold": Parameter("τ above which a prediction becomes a label", 0.95, "none; 0.95 later", _POSITIVE),
            "weight": Parameter("λ of the pseudo-label loss", 1.0, "3; 1 later", _POSITIVE),
            "ramp_start": Parameter("share of the run with λ = 0", 0.0, "100 of 600 epochs", _SHARE),
            "ramp": Parameter("share of the run at which λ is reached", 0.4, "all of it; 0.4 later", _SHARE),
            "ramp_shape": _RAMP_SHAPE,
            "view": _VIEW,
            "update_bn": _UPDATE_BN,
            "align": _ALIGN,
            "relative": _RELATIVE,
        },
    ),
    "mixmatch": Entry(
        name="mixmatch",
        title="guess by averaging augmentations, sharpen, then mix labeled and unlabeled examples alike",
        class_name="MixMatch",
        paper="Berthelot et al., MixMatch: a holistic approach to semi-supervised learning, NeurIPS 2019, "
        "arXiv 1905.02249",
        equations=(
            "q = sharpen((1/K) Σₖ p(uₖ), T);  W = shuffle(X̂ ∪ Û)",
            "X′ = MixUp(X̂, W first part),  U′ = MixUp(Û, W rest),  λ′ = max(λ, 1 − λ), λ ~ Beta(α, α) per example",
            "L = mean over X′ of CE(y′, p(x′)) + λ_U·w(t) · mean over U′, classes of (p(u′) − q′)²",
        ),
        views="labeled: weak; unlabeled: weak, K times",
        memory="none",
        tasks=("classes",),
        hyperparameters={
            "augmentations": Parameter("K, the views averaged for a guess", 2, "2", (1, 16)),
            "temperature": Parameter("T of the sharpening", 0.5, "0.5", (1e-3, math.inf)),
            "alpha": Parameter("α of MixUp's Beta distribution", 0.75, "0.75", _POSITIVE),
            "weight": Parameter("λ_U of the squared error on U′", 75.0, "75 on CIFAR-10, 250 on SVHN", _POSITIVE),
            "ramp": Parameter("share of the run over which λ_U grows", 1 / 64, "1/64 (16 k of 2²⁰ steps)", _SHARE),
            "view": _VIEW,
            "one_weight": Parameter("one λ for the batch instead of one for each example", False, "false"),
            "interleave": Parameter("sub-batches of equal mixture", True, "true"),
        },
    ),
    "fixmatch": Entry(
        name="fixmatch",
        title="a confident guess on the weak view is the label of the strong one",
        class_name="FixMatch",
        paper="Sohn et al., FixMatch: simplifying semi-supervised learning with consistency and confidence, "
        "NeurIPS 2020, arXiv 2001.07685",
        equations=("L = CE(x_w) + λ · mean over u of 1[max p(u_w) > τ] · CE(argmax p(u_w), p(u_s))",),
        views="labeled: weak; unlabeled: weak (guess), strong (student)",
        memory="none",
        hyperparameters={
            "threshold": Parameter("τ above which a guess is used", 0.95, "0.95", _POSITIVE),
            "weight": Parameter("λ of the unlabeled loss", 1.0, "1", _POSITIVE),
            "views": _STUDENT_VIEWS,
            "labeled_view": _LABELED_VIEW,
            "joint": _JOINT,
            "align": _ALIGN,
            "relative": _RELATIVE,
        },
    ),
    "character_consistency": Entry(
        name="character_consistency",
        title="the student reads the strong view along with the teacher's string, symbol by symbol",
        class_name="CharacterConsistency",
        paper="Zheng et al., Pushing the performance limit of scene text recognizer without human annotation, CVPR "
        "2022, arXiv 2204.07714; Qu et al., Boosting semi-supervised scene text recognition via viewing and "
        "summarizing, arXiv 2411.15585",
        equations=(
            "s = the teacher's string of u_w;  q_t = sharpen(p_θ′(· | u_w, s_<t), T)",
            "L = CE(x_w) + λ · mean over u of 1[conf(s) > τ] · mean over t of KL(q_t ‖ p_θ(· | u_s, s_<t))",
        ),
        views="labeled: weak; unlabeled: weak (teacher), strong (student)",
        memory="the averaged network (kept by the training loop for every method)",
        tasks=("attention",),
        hyperparameters={
            "threshold": Parameter("τ above which a string is used", 0.5, "0.5, of the product", _POSITIVE),
            "temperature": Parameter("T of the sharpening", 0.4, "0.4", (1e-3, math.inf)),
            "weight": Parameter("λ of the consistency loss", 1.0, "1", _POSITIVE),
            "views": _STUDENT_VIEWS,
            "labeled_view": _LABELED_VIEW,
            "decay": Parameter("the teacher's α; none: as ema_decay", None, "0.999", _SHARE, optional=True),
        },
    ),
}


_CONTRASTIVE = Parameter("view of every example, made twice", "contrastive", "crop, colors", choices=VIEWS)

PRETRAINING: dict[str, Entry] = {
    "rotation": Entry(
        name="rotation",
        title="to tell how far a picture was turned, a network has to see what is in it",
        class_name="Rotation",
        paper="Gidaris, Singh & Komodakis, Unsupervised representation learning by predicting image rotations, "
        "ICLR 2018, arXiv 1803.07728",
        equations=("L = mean over u and r of CE(r, rotation(f(turn(u, 90° · r)))),  r = 0, 1, 2, 3",),
        views="unlabeled: weak, in four positions, lines of text in two; labels: never looked at",
        memory="none",
        tasks=("classes", "ctc"),
        hyperparameters={"view": _VIEW},
    ),
    "simclr": Entry(
        name="simclr",
        title="two views of one example are each other's nearest among all views of the batch",
        class_name="SimCLR",
        paper="Chen et al., A simple framework for contrastive learning of visual representations, ICML 2020, "
        "arXiv 2002.05709",
        equations=(
            "z = g(f(view(u))) / ‖·‖, two views of each of the N examples: 2N rows",
            "L = mean over all 2N rows of −log exp(zᵢ·zⱼ / τ) / Σ_{k ≠ i} exp(zᵢ·zₖ / τ), j the example's other view",
        ),
        views="unlabeled: contrastive, twice; labels: never looked at",
        memory="none",
        tasks=("classes",),
        hyperparameters={
            "temperature": Parameter("τ", 0.2, "0.1; 0.5 on CIFAR-10", (1e-3, math.inf)),
            "hidden": Parameter("width of the projection's hidden layer", 512, "2048", (1, 65_536)),
            "dimension": Parameter("of the space of comparison", 128, "128", (2, 65_536)),
            "view": _CONTRASTIVE,
        },
    ),
    "vicreg": Entry(
        name="vicreg",
        title="two views agree, while every coordinate keeps its variance and none repeats another",
        class_name="VICReg",
        paper="Bardes, Ponce & LeCun, VICReg: variance-invariance-covariance regularization for self-supervised "
        "learning, ICLR 2022, arXiv 2105.04906",
        equations=(
            "z, z′ = g(f(view(u))), two views of each example",
            "L = λ · mean (z − z′)² + μ (v(z) + v(z′)) / 2 + ν (c(z) + c(z′))",
            "v(z) = mean max(0, 1 − √(Var(z) + 10⁻⁴)),  c(z) = Σ over i ≠ j of Cov(z)ᵢⱼ² / d",
        ),
        views="unlabeled: contrastive, twice; labels: never looked at",
        memory="none",
        tasks=("classes",),
        hyperparameters={
            "invariance": Parameter("λ", 25.0, "25", _POSITIVE),
            "variance": Parameter("μ", 25.0, "25", _POSITIVE),
            "covariance": Parameter("ν", 1.0, "1", _POSITIVE),
            "hidden": Parameter("width of the expander's hidden layer", 1024, "8192, two layers", (1, 65_536)),
            "dimension": Parameter("d", 1024, "8192", (2, 65_536)),
            "view": _CONTRASTIVE,
        },
    ),
}
"""Methods that learn from the pool without any label: the start of a fit, not a fit of their own."""

PLUGGED: dict[str, Entry] = {}
"""Methods that `plug_in` found."""


def names_for(task: str) -> list[str]:
    """The methods of the catalogue that are defined for a kind of task, such as ``classes``."""
    return [name for name, entry in METHODS.items() if task in entry.tasks]


def find(method: str | type[Method]) -> Entry:
    """The entry of that name; of a class of your own, an entry made from its signature and docstring.

    A name that is not in the catalogue is looked for among the modules given to `plug_in` and the installed packages
    that offer it under the entry point group ``semilla.methods``. Nothing else is ever imported.

    Raises:
        UsageError: U001, there is none; names the nearest.
    """
    if isinstance(method, type):
        return entry_of(method)
    for known in (METHODS, PRETRAINING):
        if method in known:
            return known[method]
    if method in PLUGGED:
        return PLUGGED[method]
    for point in metadata.entry_points(group="semilla.methods", name=method):
        return entry_of(point.load(), method)
    raise UsageError("U001", f"unknown method {method!r}", nearest(method, [*METHODS, *PRETRAINING, *PLUGGED]))


def check_task(entry: Entry, kind: str | None, network: str | None) -> None:
    """Refuse a method that is not defined for this kind of label.

    Args:
        entry: the method.
        kind: of the data; None where it is not known yet.
        network: as asked for; which recogniser it is decides how text is read.

    Raises:
        UsageError: U007.
        DataError: D112, the network reads no text.
    """
    if kind is None and network not in RECOGNISERS:
        return
    if kind == "text" and network is not None and network not in RECOGNISERS:
        raise DataError("D112", f"network {network} does not read text", f"set network={' or '.join(RECOGNISERS)}")
    task = task_of(kind, network)
    if task not in entry.tasks:
        what = "class labels" if task == "classes" else f"text read by {network or 'crnn'} ({task})"
        others = PRETRAINING if entry.name in PRETRAINING else METHODS
        able = [name for name, other in others.items() if task in other.tasks]
        fix = (
            f"it is for {', '.join(entry.tasks)}; take {'one of ' if len(able) > 1 else ''}{', '.join(able) or 'none'}"
        )
        raise UsageError("U007", f"{entry.name} is not defined for {what}", fix)


def plug_in(module: str) -> list[str]:
    """Import a module and offer the methods it defines, each under its class name in small letters.

    The module's code runs: name only what you trust.

    Raises:
        UsageError: U021, there is no such module, or it defines no method.
    """
    from semilla.contract import Method

    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        fix = "give a module that Python finds, such as my_methods for my_methods.py on PYTHONPATH"
        raise UsageError("U021", f"no module {error.name!r} to plug in", fix) from error
    own = [value for value in vars(found).values() if isinstance(value, type) and value.__module__ == module]
    entries = [entry_of(value) for value in own if issubclass(value, Method)]
    if not entries:
        raise UsageError("U021", f"module {module!r} defines no Method", "derive a class from semilla.contract.Method")
    PLUGGED.update({entry.name: entry for entry in entries})
    return [entry.name for entry in entries]


def entry_of(method: type[Method], name: str = "") -> Entry:
    """A catalogue entry for a class that is not in the catalogue."""
    parameters = list(inspect.signature(method.__init__).parameters.values())[2:]  # after self and info
    return Entry(
        name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method.__name__).lower(),
        title=(inspect.getdoc(method) or method.__name__).splitlines()[0],
        class_name=method.__name__,
        paper="",
        equations=(),
        views="as the class declares",
        memory="as the class declares",
        tasks=tuple(sorted(method.tasks)),
        hyperparameters={
            each.name: Parameter("", each.default, optional=each.default is None)
            for each in parameters
            if each.default is not each.empty
        },
        own=method,
    )
