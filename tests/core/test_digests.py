import hashlib
from pathlib import Path

from pluralign.core.digests import digest, file_digest, sampled_digest, sha256, source_digest


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
