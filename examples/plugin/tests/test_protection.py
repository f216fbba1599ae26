import pytest
from auscult_example.protection import RecordShare

from auscult.base.errors import ConfigError
from auscult.testing import check_protection


def test_the_protection_is_one() -> None:
    check_protection(RecordShare())
    check_protection(RecordShare(share=0.25))


def test_a_share_lies_between_0_and_1() -> None:
    with pytest.raises(ConfigError, match="share"):
        RecordShare(share=1).check("protect[0].cohort")
