from auscult_example.section import RANKING

from auscult.testing import check_section


def test_the_section_is_one() -> None:
    aggregate = {"lira": {"label": "LiRA", "auc": 0.71}, "rmia": {"label": "RMIA", "auc": None}}
    check_section(RANKING, {"schema": "auscult.summary/1", "aggregate": aggregate})
