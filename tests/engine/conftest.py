"""What tests of runs share."""

import pytest

from slowfast.engine.files import outputs


@pytest.fixture(scope="module", autouse=True)
def no_figure(request):
    """A test writes no figure of its confusion, more than half the work of a tiny run.

    test_outputs.py does without this and looks at the figure.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != "test_outputs.py":
            patch.setattr(outputs, "save_confusion", lambda path, matrices, classes: None)
        yield
