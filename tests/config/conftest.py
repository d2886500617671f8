import textwrap

import pytest


@pytest.fixture
def write(tmp_path):
    """write("a.yaml", text) -> its path in a temporary folder."""

    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write_file
