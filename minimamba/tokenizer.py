"""From text to token ids and back: a tokenizer.json beside the weights, or bytes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from minimamba.arguments import refuse
from minimamba.files import check_file, first_line

FILE_NAME = "tokenizer.json"
REPLACEMENT = "\ufffd"
"""What bytes that are part of a character decode to, until the rest of it has come."""
BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
"""How a vocabulary writes a token that stands for a single byte."""
LARGEST = 50_000_000
"""In bytes; a tokenizer.json of 256,000 tokens has 33 million. In memory it is many times as
large."""
LARGEST_ID = 2**32 - 1
"""The largest token id that the `tokenizers` library takes."""
CONTEXT = 8
"""How many tokens are decoded again together with the next ones."""


class ByteTokenizer:
    """One token per byte of UTF-8."""

    vocab_size: ClassVar[int] = 256

    def encode(self, text: str) -> list[int]:
        """Turn a text into its bytes.

        Args:
            text: any text.

        Raises:
            ValueError: if it is no text, or one that UTF-8 can't encode.
        """
        return list(_as_utf8("text", text))

    def decode(self, ids: list[int]) -> str:
        """Turn bytes into a text; what is not UTF-8 becomes U+FFFD.

        Args:
            ids: numbers from 0 to 255, such as `tolist()` of a tensor gives.

        Raises:
            ValueError: for anything else.
        """
        _check_ids(ids, self.vocab_size - 1)
        return bytes(ids).decode(errors="replace")

    def token(self, token_id: int) -> str:
        """Return the token itself.

        Args:
            token_id: a number from 0 to 255.

        Raises:
            ValueError: for anything else.
        """
        _check_id("token_id", token_id, self.vocab_size - 1)
        return chr(token_id)


class FileTokenizer:
    """A tokenizer.json, read by Hugging Face's `tokenizers`.

    Args:
        file: the path of the tokenizer.json.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: for anything else than a tokenizer.
    """

    def __init__(self, file: str | Path) -> None:
        from tokenizers import Tokenizer  # only here: it takes a while to import

        file = Path(file)
        check_file(file, LARGEST)
        with _refusing(file.name, "a tokenizer that the `tokenizers` library reads"):
            self._tokenizer = Tokenizer.from_file(str(file))
        # A file may ask for both, and a prompt would be cut or filled up in silence.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = {token_id for token_id, token in added.items() if token.special}

    def encode(self, text: str) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: any text.

        Raises:
            ValueError: if it is no text; for one that it can't encode, such as an unknown word in a
                vocabulary that has no token for those.
        """
        _as_utf8("text", text)
        with _refusing("text", f"one that {FILE_NAME} can encode"):
            return self._tokenizer.encode(text).ids

    def decode(self, ids: list[int]) -> str:
        """Turn token ids into a text, without the special tokens.

        Args:
            ids: token ids, such as `tolist()` of a tensor gives.

        Raises:
            ValueError: for anything else, and for tokens that it can't decode.
        """
        _check_ids(ids, LARGEST_ID)
        with _refusing("ids", f"tokens that {FILE_NAME} can decode"):
            return self._tokenizer.decode(ids)

    def token(self, token_id: int) -> str | None:
        """Return the token as the vocabulary writes it; None if `decode` leaves it out.

        Args:
            token_id: a number from 0 up.

        Raises:
            ValueError: for anything else.
        """
        _check_id("token_id", token_id, LARGEST_ID)
        return None if token_id in self._special_ids else self._tokenizer.id_to_token(token_id)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json.

        Args:
            folder: where.
        """
        content = self._tokenizer.to_str(pretty=True)
        (Path(folder) / FILE_NAME).write_text(content, encoding="utf-8")


@contextmanager
def _refusing(name: str, expected: str) -> Iterator[None]:
    """Turn whatever `tokenizers` raises into one line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic, of its Rust code, is no Exception
        refuse(name, expected, first_line(error))


class TextStream:
    """Turns token ids, one after the other, into pieces of text.

    The pieces, joined, are what decoding all tokens at once adds to the prompt. So a character is
    held back while it is incomplete, and a piece while its last token stands for a byte: one more
    byte can make those before it invalid. It is decoded together with a few tokens
    before it, since what a token stands for may depend on its neighbors; what came earlier is not
    decoded again, so that a token takes no longer at the end of a long text.

    Args:
        tokenizer: decodes.
        prompt_ids: the token ids before the first one that is pushed.
    """

    def __init__(self, tokenizer: ByteTokenizer | FileTokenizer, prompt_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        shown = [token_id for token_id in prompt_ids if tokenizer.token(token_id) is not None]
        start = max(len(shown) - CONTEXT, 0)
        while start and self._is_byte(shown[start]):
            start -= 1
        self._context = shown[start:]
        self._pending: list[int] = []
        self._held_back = 0
        """How many characters at the end of the context are incomplete: 0 or 1."""

    def push(self, token_id: int) -> str:
        """Add a token.

        Args:
            token_id: the next token.

        Returns:
            The text that can be shown now; "" while a character is incomplete.
        """
        if self._tokenizer.token(token_id) is None:
            return ""
        self._pending.append(token_id)
        if self._is_byte(token_id):
            return ""
        piece = self.flush()
        # Bytes that are no UTF-8 can go on for ever, but only the last character may yet change.
        incomplete = int(piece.endswith(REPLACEMENT))
        if len(piece) <= incomplete:
            return ""
        self._context = (self._context + self._pending)[-CONTEXT:]
        self._pending = []
        self._held_back = incomplete
        return piece.removesuffix(REPLACEMENT)

    def flush(self) -> str:
        """Return what is held back, when no token comes any more."""
        shown = len(self._tokenizer.decode(self._context)) - self._held_back
        return self._tokenizer.decode(self._context + self._pending)[shown:]

    def _is_byte(self, token_id: int) -> bool:
        return BYTE.fullmatch(self._tokenizer.token(token_id)) is not None


def load_tokenizer(folder: Path, vocab_size: int) -> FileTokenizer | ByteTokenizer | None:
    """Find the tokenizer of a checkpoint.

    Args:
        folder: where the weights are.
        vocab_size: the model's.

    Returns:
        That of a tokenizer.json, or else bytes if the vocabulary is 256, or else None.
    """
    file = folder / FILE_NAME
    if file.exists() or file.is_symlink():  # a broken link is no reason to read bytes instead
        return FileTokenizer(file)
    return ByteTokenizer() if vocab_size == ByteTokenizer.vocab_size else None


def encode_prompt(tokenizer: ByteTokenizer | FileTokenizer | None, text: str,
                  name: str) -> list[int]:
    """Turn a prompt into token ids.

    Args:
        tokenizer: the model's.
        text: the prompt.
        name: what the prompt is called in an error message.

    Returns:
        At least one token id.

    Raises:
        ValueError: if there is no tokenizer, or the text has no token or no UTF-8.
    """
    if tokenizer is None:
        refuse(name, "token ids, since this model has no tokenizer (no tokenizer.json stood beside "
               "its weights, and its vocabulary is not that of bytes)", "a text")
    _as_utf8(name, text)
    ids = tokenizer.encode(text)
    if not ids:
        refuse(name, "a text of at least one token", repr(text))
    return ids


def _as_utf8(name: str, text: object) -> bytes:
    """Encode a text, if it is one."""
    if not isinstance(text, str):
        refuse(name, "a text", type(text).__name__)
    try:
        return text.encode()
    except UnicodeEncodeError:
        refuse(name, "a text that UTF-8 can encode", repr(text))


def _check_ids(ids: object, largest: int) -> None:
    """Check a list of token ids. `bytes` would take an array's memory, or a number of zeros."""
    if not isinstance(ids, (list, tuple)):
        refuse("ids", "a list of token ids", type(ids).__name__)
    for i, token_id in enumerate(ids):
        _check_id(f"ids[{i}]", token_id, largest)


def _check_id(name: str, token_id: object, largest: int) -> None:
    if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id <= largest:
        refuse(name, f"a token id from 0 to {largest}", repr(token_id))
