"""Who is in it, the inputs, which patients each model trains on, and what models are asked."""

from auscult.cohort.cohort import Cohort, LeftOut, PatientIds, Task, TrainingData

__all__ = [
    "Cohort",
    "LeftOut",
    "PatientIds",
    "Task",
    "TrainingData",
]
