"""The `minimamba` command: train a model of code, generate text, look into a checkpoint."""

import argparse
import io
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from math import log
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import minimamba
from minimamba import environment, interruption, training
from minimamba.arguments import check_count, check_positive, refuse
from minimamba.atomic import replacing
from minimamba.config import MambaConfig
from minimamba.course import corpora, weights
from minimamba.files import CHECKPOINT_FILES
from minimamba.lm import MambaLM
from minimamba.lock import locked
from minimamba.scan import methods
from minimamba.tokenizer import FILE_NAME as TOKENIZER_FILE
from minimamba.tokenizer import ByteTokenizer

STATE_FILE = "training.pt"
"""What a training that was interrupted resumes from, in its output folder."""
SETTINGS_FILE = "training.json"
"""The settings that it was begun with."""
MODEL_FILES = (*CHECKPOINT_FILES, "config.json", TOKENIZER_FILE)
"""What an output folder may not hold when a training begins."""
FREE_SETTINGS = ("command", "run", "out", "steps", "save_every")
"""Options of `train` that may change when it resumes."""
LAYERS_OF = {"d_state": "M264", "d_conv": "M2", "expand": "M2", "dt_rank": "M6", "bias": "M2",
             "conv_bias": "M2", "n_heads": "A", "rotary": "A", "selective": "6", "head_dim": "2",
             "n_groups": "2", "dt_limit": "2"}
"""The layers that an option of a model is for, where it isn't for all."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows `minimamba` on the command line; that of this process if None.

    Returns:
        0, also after the help that is printed if there is no command; 2 with one line on stderr if
        something was wrong; 130 with one line after Ctrl-C or, in
        a training, SIGTERM; 141 if whoever read the output has closed it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    interruption.end()
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have every character
    try:
        options.run(options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        message, status = "", 141
    except KeyboardInterrupt as error:
        message, status = str(error) or "interrupted", 130
    except (ValueError, OSError, ArithmeticError, RuntimeError, MemoryError) as error:
        message, status = str(error) or type(error).__name__, 2
    _give_up_output()
    if message:
        line = textwrap.shorten(message, 500, placeholder=" …")
        print(f"minimamba {options.command}: {line}", file=sys.stderr)
    return status


def _give_up_output() -> None:
    """Drop what can't be printed: Python would try again at the end, and fail with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="minimamba", description=__doc__)
    parser.add_argument("--version", action="version", version=f"minimamba {minimamba.__version__}")
    commands = parser.add_subparsers(dest="command")

    def command(name: str, run: Callable, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=description, description=description)
        added.set_defaults(run=run)
        return added

    checkpoint = {"metavar": "NAME", "type": _checkpoint, "help": "a model that comes with the "
                  "library, such as code; a folder or file of weights; or a name on the Hugging "
                  "Face hub"}
    info = command("info", _info, "show what can run here, and what a checkpoint is")
    info.add_argument("--checkpoint", **checkpoint)

    generate = command("generate", _generate, "continue a prompt")
    generate.add_argument("--checkpoint", required=True, **checkpoint)
    generate.add_argument("--prompt", metavar="TEXT", required=True, help="the text to continue")
    generate.add_argument("--max-new-tokens", type=int, default=200, metavar="N",
                          help="how many tokens to generate at most (200)")
    generate.add_argument("--temperature", type=float, default=0.7, metavar="X",
                          help="lower is more predictable; 0 takes the most likely token (0.7)")
    generate.add_argument("--top-k", type=int, metavar="K",
                          help="sample among the K most likely tokens (all)")
    generate.add_argument("--top-p", type=float, default=1.0, metavar="P",
                          help="sample among the fewest tokens of this total probability (1)")
    generate.add_argument("--repetition-penalty", type=float, default=1.0, metavar="X",
                          help="divides the logits of tokens that have occurred (1: none)")
    generate.add_argument("--seed", type=int, metavar="N",
                          help="of the sampling; if not set, each run samples another text")

    train = command("train", _train, "train a byte-level model of Python's own source; on several "
                    "devices: torchrun --nproc-per-node 2 -m minimamba train …")
    train.add_argument("--out", metavar="FOLDER", required=True, type=_folder,
                       help="where the model goes; a training that was stopped goes on there")
    for name, value, meaning in (("steps", 1000, "training steps"),
                                 ("d-model", 128, "the model's width, in features"),
                                 ("n-layer", 4, "layers"),
                                 ("length", 256, "bytes per sequence"),
                                 ("batch", 16, "sequences per step"),
                                 ("seed", 0, "of the weights and of the batches")):
        train.add_argument(f"--{name}", type=int, default=value, metavar="N",
                           help=f"{meaning} ({value})")
    train.add_argument("--learning-rate", type=float, default=4e-3, metavar="X",
                       help="the highest learning rate, after a tenth of the steps (0.004)")
    train.add_argument("--save-every", type=int, default=500, metavar="STEPS",
                       help="how often to save what the same command resumes from, besides at "
                       "Ctrl-C and SIGTERM (500)")
    return parser


def _checkpoint(name: str) -> str | Path:
    """The path, or the name on the hub, of a checkpoint; a path goes before a bundled model."""
    path = os.path.expanduser(name)
    return weights.FOLDER / name if name in weights.names() and not os.path.exists(path) else path


def _load(checkpoint: str | Path, device: str = "cpu") -> MambaLM:
    """The model of a checkpoint; in place of an unknown name, where the known ones are listed."""
    path = Path(checkpoint)
    state_file = path / STATE_FILE
    if state_file.is_file() and not any((path / name).exists() for name in MODEL_FILES):
        refuse("--checkpoint", "a finished model", f"{path}, whose training was stopped after step "
               f"{training.completed_steps(state_file)}; to go on, run its train command again")
    near = get_close_matches(str(checkpoint), weights.names())
    if not path.exists() and (near or path.name == str(checkpoint)):
        guess = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{checkpoint}: no such file or folder; {guess}minimamba info lists the "
                         "models that come with the library")
    return MambaLM.from_pretrained(checkpoint, device=device)


def _is_of_text(name: str) -> bool:
    """Whether a model that comes with the library can be given a text."""
    config = json.loads((weights.FOLDER / name / "config.json").read_bytes())
    return (config["vocab_size"] == ByteTokenizer.vocab_size
            or (weights.FOLDER / name / TOKENIZER_FILE).exists())


def _folder(name: str) -> Path:
    """The folder that a name stands for; a shell leaves the ~ of --out=~/model as it is."""
    if not name:
        raise argparse.ArgumentTypeError("expected a folder, got ''")
    return Path(name).expanduser()


def _info(options: argparse.Namespace) -> None:
    # An empty path, such as a variable of the shell that is not set, is refused.
    model = None if options.checkpoint is None else _load(options.checkpoint)
    print(environment.report())
    for name, reason in methods().items():
        print(f"scan       {name}: {reason or 'can run here'}")
    of_text = [name for name in weights.names() if _is_of_text(name)]
    of_ids = [name for name in weights.names() if name not in of_text]
    for heading, names in (("models", ["of text:", *of_text]), ("", ["of token ids:", *of_ids])):
        print(textwrap.fill(f"{heading:<10} {', '.join(names).replace(':,', ':')}", 90,
                            subsequent_indent=11 * " ", break_on_hyphens=False))
    if model is not None:
        tied = "shared with" if model.config.tie_embeddings else "apart from"
        print(f"checkpoint {options.checkpoint}")
        for name, value in vars(model.config).items():
            letters = LAYERS_OF.get(name, model.config.layer_pattern)
            if set(letters) & set(model.config.layer_pattern) and (name, value) != ("layers", None):
                print(f"  {name:<17} {value}")
        print(f"  {sum(p.numel() for p in model.parameters()):,} parameters, the head's {tied} the "
              f"embedding's; {next(model.parameters()).dtype}")


def _generate(options: argparse.Namespace) -> None:
    if not options.prompt:
        refuse("--prompt", "at least one token", "none")
    model = _load(options.checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    pieces = model.stream(options.prompt, options.max_new_tokens, temperature=options.temperature,
                          top_k=options.top_k, top_p=options.top_p,
                          repetition_penalty=options.repetition_penalty, seed=options.seed)
    print(options.prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _train(options: argparse.Namespace) -> None:
    for name in ("steps", "d_model", "n_layer", "length", "batch", "save_every"):
        check_count(name, getattr(options, name))
    if not 0 <= options.seed < 2**63:
        refuse("seed", "a whole number from 0 up, below 2⁶³", options.seed)
    check_positive("learning_rate", options.learning_rate, "a number")
    torch.manual_seed(options.seed)
    device = training.device()
    corpus = corpora.code()
    train_bytes = corpus.train.to(device)
    val_bytes = corpus.val.to(device)
    most = min(len(train_bytes), len(val_bytes)) - 1
    if options.length > most:
        refuse("length", f"at most {most}, or the text is too short", options.length)
    model = MambaLM(MambaConfig(256, options.d_model, options.n_layer)).to(device)
    parallel_model = training.parallelize(model)
    out = options.out
    with _claimed(out, options, corpus) if training.is_main_process() else nullcontext():
        try:
            _train_in(out, options, model, parallel_model, train_bytes, val_bytes)
        except KeyboardInterrupt:
            if not training.is_main_process():
                return
            completed = training.completed_steps(out / STATE_FILE)
            raise KeyboardInterrupt(
                f"stopped and saved after step {completed} of {options.steps}; to go on, run the "
                "same command again" if completed
                else "stopped before the end of the first step; nothing was saved") from None


@contextmanager
def _claimed(out: Path, options: argparse.Namespace, corpus: corpora.Corpus) -> Iterator[None]:
    """Make sure that an output folder can be written to, is ours alone and fits the options."""
    if out.exists() and not out.is_dir():
        refuse("--out", "a folder", f"the file {out}")
    out.mkdir(parents=True, exist_ok=True)
    state_file, settings_file = out / STATE_FILE, out / SETTINGS_FILE
    with locked(out / "training.lock"):
        found = [name for name in MODEL_FILES if (out / name).exists()]
        if found and not state_file.exists():
            refuse("--out", "a folder without a finished model",
                   f"{out} with {found[0]}: choose another, or delete that one")
        settings = {name: value for name, value in vars(options).items()
                    if name not in FREE_SETTINGS} | {"corpus": str(corpus)}
        if state_file.exists():
            begun = _read_settings(settings_file)
            for name, value in settings.items():
                if value != begun.get(name):
                    refuse(name, f"{begun.get(name)}, with which {state_file} was begun", value)
        for leftover in out.glob(".training.*.new"):  # of a process that was killed
            leftover.unlink()
        for leftover in out.glob(".saving-*"):
            shutil.rmtree(leftover)
        with replacing(settings_file) as temporary:
            temporary.write_text(json.dumps(settings))
        yield


def _read_settings(file: Path) -> dict[str, float]:
    try:
        settings = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        refuse("--out", f"a folder in which {SETTINGS_FILE} holds settings",
               f"a damaged {file}" if file.exists() else f"{file.parent} without it")
    return settings


class _StopRequest:
    """Ctrl-C or SIGTERM during a training: the step is finished and saved, and then it stops.

    Before the first step there is nothing to save, and the first step may compile for a minute:
    until its end, and at a second Ctrl-C, the training stops at once.
    """

    def __init__(self) -> None:
        self.made = False
        self.at_once = True

    def is_made(self) -> bool:
        """Whether to stop; asked after each step."""
        self.at_once = False
        return self.made

    def __enter__(self) -> "_StopRequest":
        self.handlers = {number: signal.signal(number, self._handle)
                         for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.at_once or (self.made and number == signal.SIGINT):
            raise KeyboardInterrupt
        self.made = True


def _train_in(out: Path, options: argparse.Namespace, model: MambaLM,
              parallel_model: torch.nn.Module, train_bytes: Tensor, val_bytes: Tensor) -> None:
    state_file = out / STATE_FILE
    completed = training.completed_steps(state_file)
    if training.is_main_process():
        resumed = (f"; resuming after step {completed} of {options.steps}, from {state_file}"
                   if completed else "")
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train_bytes):,} "
              f"training bytes, {len(val_bytes):,} held out; on {train_bytes.device}{resumed}")

    def loss(window: Tensor) -> Tensor:
        return cross_entropy(parallel_model(window[:, :-1]).flatten(0, 1),
                             window[:, 1:].flatten())

    batches = _windows(train_bytes, options.batch, options.length, options.seed)
    with _StopRequest() as stop:
        losses = training.train_steps(parallel_model, loss, batches, options.steps,
                                      learning_rate=options.learning_rate, checkpoint=state_file,
                                      save_every=options.save_every, stop=stop.is_made)
        for _ in training.progress(losses, options.steps, completed=completed,
                                   measure="bits per byte", unit=log(2)):
            completed += 1
    if completed < options.steps:
        raise KeyboardInterrupt
    if training.is_main_process():
        model.save_pretrained(out)
        state_file.unlink()
        (out / SETTINGS_FILE).unlink()
        print(f"held out: {bits_per_byte(model, val_bytes, options.length):.3f} bits per byte; "
              f"saved in {out}")


def _windows(data: Tensor, batch: int, length: int, seed: int) -> Iterator[tuple[Tensor]]:
    """Yield batches of length + 1 bytes from random positions, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(data) - length, (batch, 1), generator=generator)
        yield (data[(starts + torch.arange(length + 1)).to(data.device)].long(),)


@torch.no_grad()
def bits_per_byte(model: MambaLM, data: Tensor, length: int, count: int = 64) -> float:
    """Evaluate a byte-level model.

    Args:
        model: with a vocabulary of 256; it is put into evaluation mode.
        data: (bytes,), uint8.
        length: the length of the windows it is evaluated on.
        count: how many windows, evenly spread over the data.

    Returns:
        The mean cross entropy, in bits per byte.
    """
    model.eval()
    starts = torch.linspace(0, len(data) - length - 1, count).long()[:, None]
    windows = data[(starts + torch.arange(length + 1)).to(data.device)].long()
    total = 0.0
    for window in windows.split(8):
        logits = model(window[:, :-1])
        total += cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(),
                               reduction="sum").item()
    return total / (count * length) / log(2)


if __name__ == "__main__":
    sys.exit(main())
