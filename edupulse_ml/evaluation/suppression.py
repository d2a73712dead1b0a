"""Which groups a report may tell of, so that no sum or difference of what is told describes fewer than ten students.

Legend: G groups, C students, A atoms (students whom no group tells apart), K classes of atoms, P published sets.
"""

from itertools import chain, combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.figures import MIN_STUDENTS

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

_MAX_SMALL_CLASSES: Final = 12
_ZERO: Final = 1e-8


def groups_to_tell(member_GC: Bool, counted_C: Bool, *, minimum: int = MIN_STUDENTS) -> Bool:
    """[G] groups whose figures may be published beside those of all students together.

    `member_GC` says who is in which group; groups may overlap and nest (race, sex, and both at once). `counted_C` marks
    the students whom the figures describe, e.g. those who left. A group of fewer than `minimum` of them is hidden, and
    so are the smallest of the others as far as is needed to keep every set of students with fewer of them, even with
    none, from being a sum or difference of published groups (complementary suppression; exact disclosure in linear
    algebra, as in Cox 1980, "Suppression methodology and statistical disclosure control"). Larger groups are told first.
    """
    atoms_GA, position = np.unique(member_GC, axis=1, return_inverse=True)
    count_A = np.zeros(atoms_GA.shape[1])
    np.add.at(count_A, position.ravel(), counted_C)
    count_G = atoms_GA @ count_A
    told = np.zeros(len(member_GC), dtype=np.bool_)
    published = [np.ones(atoms_GA.shape[1])]
    if count_A.sum() < minimum:
        return told
    for group in np.argsort(-count_G, kind="stable"):
        candidate = [*published, atoms_GA[group].astype(np.float64)]
        if count_G[group] >= minimum and not discloses(np.stack(candidate), count_A, minimum=minimum):
            published, told[group] = candidate, True
    return told


def discloses(published_PA: Float64, count_A: Float64, *, minimum: int = MIN_STUDENTS) -> bool:
    """Whether some set of atoms with a count below `minimum` is a linear combination of the published sets.

    True also where there are too many small sets to try them all.
    """
    classes_PK, position = np.unique(published_PA, axis=1, return_inverse=True)
    count_K = np.zeros(classes_PK.shape[1])
    np.add.at(count_K, position.ravel(), count_A)
    small = np.flatnonzero(count_K < minimum)
    if len(small) > _MAX_SMALL_CLASSES:
        return True
    # What can be derived lies in the row space: a set is derivable if nothing of it lies outside.
    _, size, rows = np.linalg.svd(classes_PK, full_matrices=True)
    outside = rows[int((size > _ZERO).sum()) :]
    for chosen in chain.from_iterable(combinations(small, n) for n in range(1, len(small) + 1)):
        if count_K[list(chosen)].sum() < minimum and np.abs(outside[:, chosen].sum(axis=1)).max(initial=0.0) < _ZERO:
            return True
    return False
