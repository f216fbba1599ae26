"""A blind baseline: can members be told from non-members without any model?"""

from auscult.blind.baseline import BlindBaseline, auc_inside_folds, blind_baseline

__all__ = ["BlindBaseline", "auc_inside_folds", "blind_baseline"]
