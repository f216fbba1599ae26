"""Audits of models made with libraries that only behave like scikit-learn; see .ci/frameworks."""
