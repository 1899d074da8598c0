import hashlib
import inspect
from functools import partial
from pathlib import Path

from pluralign.core.digests import digest, file_digest, function_digest, sampled_digest, sha256, source_digest


def test_a_digest_is_that_of_all_parts_together():
    whole = hashlib.blake2b(b"of the whole", digest_size=16).hexdigest()
    assert digest([b"of the whole"]) == digest([b"of ", b"the whole"]) == whole
    assert (
        digest(iter([b"of the", b" whole"]), size=8)
        == hashlib.blake2b(b"of the whole", digest_size=8).hexdigest()
    )


def test_files_have_the_digests_that_version_0_1_wrote(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n')
    expected = hashlib.blake2b(path.read_bytes()).hexdigest()[:32]
    assert file_digest(path) == expected
    assert source_digest(path) == source_digest(str(path)) == {"file": "rows.jsonl", "file_digest": expected}
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_and_a_hub_id_have_a_name_alone(tmp_path: Path):
    assert source_digest(tmp_path) == {"file": str(tmp_path)}
    assert source_digest("Anthropic/hh-rlhf") == {"file": "Anthropic/hh-rlhf"}


class Scaled:
    def __init__(self, scale):
        self.scale, self.calls = scale, []

    def __call__(self, x):
        self.calls.append(x)
        return self.scale * x

    def twice(self, x):
        return self(2 * x)


def scaled(x, scale=1.0):
    return scale * x


def scaled_by(scale):
    calls = []

    def function(x, *, power=1):
        calls.append(x)
        return scale * x**power

    return function


def with_default(scale):
    return lambda x, scale=scale: scale * x


def test_a_sampled_digest_sees_every_byte_of_small_files_and_all_parts_of_large_ones(tmp_path: Path):
    file, found = tmp_path / "weights", set[str]()
    content = bytearray(10_000)
    for place in (None, 0, 5000, 9999):
        if place is not None:
            content[place] += 1
        file.write_bytes(content)
        found.add(sampled_digest(file))
    assert len(found) == 4
    large = bytearray(1 << 25)
    for start in (None, 0, 1 << 24, (1 << 25) - 10_000):
        if start is not None:
            large[start : start + 10_000] = bytes([1]) * 10_000
        file.write_bytes(large)
        found.add(sampled_digest(file))
    assert len(found) == 8


def test_functions_are_told_apart_by_what_they_were_made_with():
    made = [
        (scaled, partial(scaled, scale=2.0), partial(scaled, scale=3.0)),
        (partial(scaled, scale=(1, [2])), partial(scaled, scale=(1, [3]))),
        (Scaled(1), Scaled(2)),
        (Scaled(1).twice, Scaled(2).twice),
        (scaled_by(1.0), scaled_by(2.0)),
        (with_default(1), with_default(2)),
    ]
    for functions in made:
        assert len({function_digest(one) for one in functions}) == len(functions)
    assert function_digest(scaled_by(1.0)) == function_digest(scaled_by(1.0))
    # Objects have addresses in their texts, and lists are filled in use.
    one = Scaled(1)
    before = function_digest(partial(one, object()))
    one(3)
    assert function_digest(partial(one, object())) == before
    assert function_digest(print) == ""


def test_a_function_with_nothing_else_has_the_digest_of_its_source():
    def plain(x):
        return x

    assert function_digest(plain) == digest([inspect.getsource(plain).encode()])
