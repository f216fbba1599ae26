import pytest
from auscult_example.access import Steps

from auscult.base.errors import ConfigError
from auscult.testing import check_access


def test_the_access_is_one() -> None:
    check_access(Steps())
    check_access(Steps(width=0.25))


def test_a_step_has_a_width() -> None:
    with pytest.raises(ConfigError, match="width"):
        Steps(width=0).check("access")
