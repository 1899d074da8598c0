import signal
import subprocess
import sys

import pytest

from pluralign.core import InputError
from pluralign.core.locks import only_one_in

WAITING = """
import sys, time
from pluralign.core.locks import only_one_in
with only_one_in(sys.argv[1]):
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_until_the_first_has_left(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        only_one_in(folder),
        pytest.raises(InputError, match="another process is working in this folder") as caught,
        only_one_in(folder),
    ):
        pytest.fail("two were inside")
    assert str(folder) in str(caught.value)
    with pytest.raises(KeyboardInterrupt), only_one_in(folder):
        raise KeyboardInterrupt
    with only_one_in(folder):
        pass


def test_a_killed_process_leaves_the_folder_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"inside\n"
        with pytest.raises(InputError, match="another process"), only_one_in(tmp_path):
            pytest.fail("two were inside")
        other.send_signal(signal.SIGKILL)
    with only_one_in(tmp_path):
        pass


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"), only_one_in(tmp_path / "file" / "folder"):
        pytest.fail("inside")
