"""From text to token ids and back, all at once and token by token."""

import pytest
from models import TOKENS, write_tokenizer

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
    assert stream.push(second) == "é"


def test_streaming_decodes_a_bounded_number_of_tokens():
    class Counting(ByteTokenizer):
        longest = 0

        def decode(self, ids):
            self.longest = max(self.longest, len(ids))
            return super().decode(ids)

    tokenizer = Counting()
    stream = TextStream(tokenizer, tokenizer.encode(100 * TEXT))
    assert "".join(map(stream.push, tokenizer.encode(TEXT))) == TEXT
    assert tokenizer.longest < 20


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
