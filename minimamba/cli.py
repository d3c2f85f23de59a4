"""The `minimamba` command: train a model of code, write with a checkpoint, look into one."""

import argparse
import sys
from collections.abc import Iterator
from math import log
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from minimamba import checkpoint, environment, generation, training
from minimamba.course import corpora
from minimamba.lm import MambaConfig, MambaLM
from minimamba.scan import methods


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if it went well, 2 with one line on stderr if its input was bad."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"minimamba {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minimamba", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    info = commands.add_parser("info", help="what this machine can run, and what a checkpoint is")
    info.add_argument("--checkpoint", metavar="PATH", help="a folder, a file or a hub name")
    info.set_defaults(run=_info)

    write = commands.add_parser("generate", help="write on from a prompt")
    write.add_argument("--checkpoint", metavar="PATH", required=True)
    write.add_argument("--prompt", required=True)
    write.add_argument("--tokens", type=int, default=200, help="how many to write at most (200)")
    write.add_argument("--temperature", type=float, default=0.0, help="0 (default): the best one")
    write.add_argument("--top-k", type=int)
    write.add_argument("--top-p", type=float, default=1.0)
    write.add_argument("--repetition-penalty", type=float, default=1.0)
    write.add_argument("--seed", type=int, default=0)
    write.set_defaults(run=_generate)

    learn = commands.add_parser("train", help="train a model of Python's own source, by bytes; "
                           "on many devices: torchrun -m minimamba.cli train …")
    learn.add_argument("--out", metavar="FOLDER", required=True)
    for name, value in (("steps", 1000), ("d-model", 128), ("n-layer", 4), ("length", 256),
                        ("batch", 16), ("seed", 0)):
        learn.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    learn.add_argument("--lr", type=float, default=4e-3, help="the highest learning rate (0.004)")
    learn.add_argument("--every", type=int, default=500, metavar="STEPS", help="how often to write "
                       "down what the same command would go on from, were it stopped (500)")
    learn.set_defaults(run=_train)
    return parser


def _info(options: argparse.Namespace) -> None:
    print(environment.report())
    for name, reason in methods().items():
        print(f"scan       {name}: {reason or 'can run here'}")
    if options.checkpoint:
        model = checkpoint.load(options.checkpoint)
        shared = "shared" if model.config.tie_embeddings else "not shared"
        print(f"checkpoint {options.checkpoint}")
        for name, value in vars(model.config).items():
            print(f"  {name:<17} {value}")
        print(f"  {sum(p.numel() for p in model.parameters()):,} parameters, the head's {shared}; "
              f"{next(model.parameters()).dtype}")


def _generate(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = checkpoint.load(options.checkpoint, device=device)
    encode, decode = _tokenizer(checkpoint.find(options.checkpoint).parent, model.config.vocab_size)
    prompt = encode(options.prompt)
    if not prompt:
        raise ValueError("--prompt: expected at least one token, got none")
    print(options.prompt, end="", flush=True)
    made: list[int] = []
    shown = ""
    for token in generation.stream(
            model, torch.tensor([prompt], device=device), options.tokens,
            temperature=options.temperature, top_k=options.top_k, top_p=options.top_p,
            repetition_penalty=options.repetition_penalty, seed=options.seed):
        made.append(token.item())
        text = decode(made)
        # Part of a character shows as U+FFFD until the rest of it has come.
        if not text.endswith("\ufffd"):
            print(text[len(shown):], end="", flush=True)
            shown = text
    print()


def _tokenizer(folder: Path, vocab_size: int) -> tuple:
    """How a text becomes tokens, and back: tokenizer.json beside the weights, or else bytes."""
    file = folder / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        return lambda text: tokenizer.encode(text).ids, tokenizer.decode
    if vocab_size != 256:
        raise ValueError(f"--checkpoint: expected a tokenizer.json beside the weights, or a "
                         f"vocabulary of 256 bytes, got {vocab_size} tokens and no {file}")
    return (lambda text: list(text.encode()),
            lambda tokens: bytes(tokens).decode(errors="replace"))


def _train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    device = training.device()
    learn, hold = (part.to(device) for part in corpora.code())
    model = MambaLM(MambaConfig(256, options.d_model, options.n_layer)).to(device)
    spread = training.spread(model)
    state = Path(options.out) / "training.pt"
    done = training.steps_done(state)
    if training.is_first():
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(learn):,} bytes to "
              f"learn from, {len(hold):,} held out; on {device}"
              + (f"; going on from step {done}" if done else ""))

    def loss(bytes_: Tensor) -> Tensor:
        return cross_entropy(spread(bytes_[:, :-1]).flatten(0, 1), bytes_[:, 1:].flatten())

    losses = training.train(spread, loss, _windows(learn, options.batch, options.length,
                                                   options.seed), options.steps, lr=options.lr,
                            checkpoint=state, every=options.every)
    for _ in training.progress(losses, options.steps, done=done, measure="bits a byte",
                                unit=log(2)):
        pass
    if training.is_first():
        checkpoint.save(model, options.out)
        state.unlink()
        print(f"held out: {bits_a_byte(model, hold, options.length):.3f} bits a byte; "
              f"written to {options.out}")


def _windows(data: Tensor, batch: int, length: int, seed: int) -> Iterator[tuple[Tensor]]:
    """Stretches of length + 1 bytes from anywhere, for ever."""
    random = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(data) - length, (batch, 1), generator=random)
        yield (data[(starts + torch.arange(length + 1)).to(data.device)].long(),)


@torch.no_grad()
def bits_a_byte(model: MambaLM, data: Tensor, length: int, count: int = 64) -> float:
    """The loss on `count` stretches of `length` bytes, evenly spread over the data."""
    model.eval()
    starts = torch.linspace(0, len(data) - length - 1, count).long()[:, None]
    given = data[(starts + torch.arange(length + 1)).to(data.device)].long()
    total = sum(cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(),
                              reduction="sum").item() for part in given.split(8))
    return total / (count * length) / log(2)


if __name__ == "__main__":
    sys.exit(main())
