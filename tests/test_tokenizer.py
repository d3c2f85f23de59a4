"""From text to token ids and back, all at once and token by token."""

import json
from random import Random

import pytest
from models import TOKENS, small_model, write_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minimamba.tokenizer import (
    ByteTokenizer,
    FileTokenizer,
    TextStream,
    encode_prompt,
    load_tokenizer,
)

TEXT = "a cab, naïve 日本語  and 🐍 abc."


@pytest.fixture(params=["bytes", "file"])
def tokenizer(request, tmp_path):
    if request.param == "bytes":
        return ByteTokenizer()
    write_tokenizer(tmp_path)
    return FileTokenizer(tmp_path / "tokenizer.json")


def test_decode_inverts_encode(tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_byte_tokenizer_is_utf8():
    assert ByteTokenizer().encode("aé") == [97, 0xC3, 0xA9]
    assert ByteTokenizer().decode([97, 0xC3]) == "a\ufffd"


def test_file_tokenizer_drops_special_tokens_and_the_first_space(tmp_path):
    write_tokenizer(tmp_path)
    tokenizer = FileTokenizer(tmp_path / "tokenizer.json")
    assert [TOKENS[i] for i in tokenizer.encode("a b")] == ["▁a", "▁b"]
    assert tokenizer.decode([0, *tokenizer.encode("a b"), 1]) == "a b"
    copy = tmp_path / "copy"
    copy.mkdir()
    tokenizer.save(copy)
    assert FileTokenizer(copy / "tokenizer.json").encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.parametrize("prompt", ["a", "a cab", "a cab, naïve 日", "a cab, naïve 日本語 "])
def test_streamed_pieces_join_to_the_text(tokenizer, prompt):
    prompt_ids = tokenizer.encode(prompt)
    ids = tokenizer.encode(TEXT)
    assert ids[:len(prompt_ids)] == prompt_ids
    stream = TextStream(tokenizer, prompt_ids)
    pieces = [stream.push(i) for i in ids[len(prompt_ids):]]
    assert "".join(pieces) == TEXT[len(prompt):]
    assert not any("\ufffd" in piece for piece in pieces)
    assert stream.flush() == ""


def test_piece_is_held_back_until_its_character_is_complete(tokenizer):
    prompt_ids, ids = tokenizer.encode("a"), tokenizer.encode("aé")
    stream = TextStream(tokenizer, prompt_ids)
    first, second = ids[len(prompt_ids):]
    assert stream.push(first) == ""
    assert stream.flush() == "\ufffd"
    # A byte of a vocabulary waits for the next token: one more byte would make it invalid.
    assert (stream.push(second) or stream.flush()) == "é"


SPECIAL = ["<s>", "</s>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["▁", "▁a", "▁b", "a", "b", "▁▁", ".", "▁,", "日", "\n", "'", "s", "\u200d", "🐍"]
PIECES = ["a", "##b", "##c", "b", ".", ",", "'", "##'", "s", "n't", "##.", "do", "not"]
TOKENIZERS = {
    "Metaspace": (WORDS, decoders.Metaspace()),
    "Metaspace, never first": (WORDS, decoders.Metaspace(prepend_scheme="never")),
    "byte fallback": (BYTES + WORDS, decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])),
    "byte fallback, lower case": ([byte.lower() for byte in BYTES] + WORDS, decoders.Sequence([
        decoders.ByteFallback(), decoders.Fuse()])),
    "ByteLevel": (sorted(pre_tokenizers.ByteLevel.alphabet()), decoders.ByteLevel()),
    "WordPiece": (PIECES, decoders.WordPiece()),
    "WordPiece without cleanup": (PIECES, decoders.WordPiece(cleanup=False)),
    "BPE": (["a", "b</w>", "c", "a</w>", ".</w>"], decoders.BPEDecoder()),
    "bytes": None,
}


def file_tokenizer(folder, tokens, decoder):
    """A tokenizer.json of some tokens after the special ones; it has no merges."""
    tokens = SPECIAL + tokens
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [],
                                     unk_token="<unk>"))
    tokenizer.add_special_tokens(SPECIAL[:2])
    tokenizer.decoder = decoder
    tokenizer.save(str(folder / "tokenizer.json"))
    return FileTokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_any_tokens_streamed_are_what_decoding_all_at_once_gives(name, tmp_path):
    random = Random(0)
    if TOKENIZERS[name] is None:
        tokenizer, size = ByteTokenizer(), 256
    else:
        tokenizer = file_tokenizer(tmp_path, *TOKENIZERS[name])
        size = len(SPECIAL) + len(TOKENIZERS[name][0]) + 2  # two ids without a token
    for _ in range(300):
        # Either any ids, or few different ones: runs of special tokens, and of one byte.
        choice = range(size) if random.random() < 0.7 else random.choices(range(size), k=3)
        ids = random.choices([*choice, *range(3)], k=random.randrange(1, 40))
        start = random.choice([0, random.randrange(len(ids) + 1)])
        stream = TextStream(tokenizer, ids[:start])
        text = "".join(map(stream.push, ids[start:])) + stream.flush()
        assert text == tokenizer.decode(ids)[len(tokenizer.decode(ids[:start])):], (start, ids)


def test_space_after_many_special_tokens_is_not_lost(tmp_path):
    tokenizer = file_tokenizer(tmp_path, *TOKENIZERS["Metaspace"])
    known = tokenizer._tokenizer.get_vocab()
    stream = TextStream(tokenizer, [known["▁a"], *[known["</s>"]] * 20])
    assert stream.push(known["▁b"]) == " b"


@pytest.mark.parametrize("name", ["byte fallback", "ByteLevel", "bytes"])
def test_every_byte_after_every_kind_of_character_is_streamed(name, tmp_path):
    if TOKENIZERS[name] is None:
        tokenizer, byte_ids = ByteTokenizer(), range(256)
    else:
        tokenizer = file_tokenizer(tmp_path, *TOKENIZERS[name])
        known = tokenizer._tokenizer.get_vocab()
        level = bytes_to_unicode()
        byte_ids = [known[f"<0x{b:02X}>"] if name == "byte fallback" else known[level[b]]
                    for b in range(256)]
    for before in ("", "a", "é", "日", "👩\u200d🚀", "\ufffd"):
        for byte in range(256):
            ids = [byte_ids[b] for b in (*before.encode(), byte, *b"b")]
            stream = TextStream(tokenizer, [])
            assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids)


def bytes_to_unicode():
    """The character that GPT-2's vocabulary writes for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + i) for i, byte in enumerate(others)}


def test_prompt_is_neither_cut_nor_filled_up_whatever_the_file_asks_for(tmp_path):
    tokenizer = file_tokenizer(tmp_path, WORDS, decoders.Metaspace())._tokenizer
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(FileTokenizer(tmp_path / "tokenizer.json").encode("aaa")) == 3


def test_generated_text_is_the_prompt_and_what_is_streamed(tokenizer):
    is_bytes = isinstance(tokenizer, ByteTokenizer)
    model = small_model(vocab_size=256 if is_bytes else len(TOKENS))
    model.tokenizer = tokenizer
    for seed in range(5):
        options = {"temperature": 3.0, "seed": seed}
        assert model.generate(TEXT, 30, **options) == TEXT + "".join(
            model.stream(TEXT, 30, **options))


@pytest.mark.parametrize("ids", [TEXT.encode(), b"\xff" * 100, b"\xf0\x9f" * 100, b"\x80" * 100],
                         ids=["text", "no UTF-8", "halves of a character", "ends of a character"])
def test_streaming_decodes_a_bounded_number_of_tokens(ids):
    class Counting(ByteTokenizer):
        longest = 0

        def decode(self, ids):
            self.longest = max(self.longest, len(ids))
            return super().decode(ids)

    tokenizer = Counting()
    stream = TextStream(tokenizer, tokenizer.encode(100 * TEXT))
    streamed = "".join(map(stream.push, ids))
    text = ByteTokenizer().decode(list(ids))
    assert len(streamed) >= len(text) - 1                    # nothing else waits for the end
    assert streamed + stream.flush() == text
    assert tokenizer.longest < 20


UNKNOWN = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}
BREAKING = {
    "no token for unknown words": {"model": UNKNOWN},
    "a panic when it encodes": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "a panic when it decodes": {"decoder": {"type": "Sequence", "decoders": [
        {"type": "Strip", "content": "a", "start": 1, "stop": 0},
        {"type": "Strip", "content": " ", "start": 0, "stop": 1}]}},
    "a panic when it is read": {"normalizer": {"type": "Precompiled",
                                               "precompiled_charsmap": "AAAA"}}}
"""What makes the `tokenizers` library raise Exception itself, or what is no Exception at all."""


@pytest.mark.parametrize("name", BREAKING)
def test_tokenizer_that_breaks_is_one_line(name, tmp_path):
    write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | BREAKING[name]))

    def use():
        tokenizer = FileTokenizer(file)
        tokenizer.decode([TOKENS.index("a"), *tokenizer.encode("b")])

    with pytest.raises(ValueError, match=r"^(text|ids|tokenizer.json): expected .+, got [^\n]+$"):
        use()


def test_tokens_that_are_none_are_refused(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"^ids\[0\]: expected a token id from 0 to "):
        FileTokenizer(tmp_path / "tokenizer.json").decode([2**40])


def test_tokenizer_is_the_file_or_else_bytes_or_else_none(tmp_path):
    assert load_tokenizer(tmp_path, 100) is None
    assert isinstance(load_tokenizer(tmp_path, 256), ByteTokenizer)
    write_tokenizer(tmp_path)
    assert isinstance(load_tokenizer(tmp_path, 256), FileTokenizer)


def test_text_without_a_tokenizer_or_without_a_token_is_refused():
    assert encode_prompt(ByteTokenizer(), "ab", "prompt") == [97, 98]
    with pytest.raises(ValueError, match=r"^prompt: expected token ids, since this model has no"):
        encode_prompt(None, "ab", "prompt")
    with pytest.raises(ValueError, match=r"^prompt: expected a text of at least one token, got ''"):
        encode_prompt(ByteTokenizer(), "", "prompt")
    with pytest.raises(ValueError, match=r"^prompt: expected a text that UTF-8 can encode, got 'a"):
        encode_prompt(ByteTokenizer(), "a\udcff", "prompt")
