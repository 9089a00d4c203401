"""Golden values of the rank-sum test, from SciPy, and of Holm's correction, from statsmodels.

    python tools/reference/significance_goldens.py > test/golden/significance.json

`exact` is SciPy's own exact method where no samples are equal, and its permutation method over all relabellings where
some are; `asymptotic` is its normal approximation with corrections for ties and continuity.
"""
import json
import platform

import numpy as np
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(7)
cases = []


def add(a, b, kind):
    a, b = [float(x) for x in a], [float(x) for x in b]
    tied = len(set(a + b)) < len(a) + len(b)
    if kind == "exact":
        method = stats.PermutationMethod(n_resamples=np.inf) if tied else "exact"
    else:
        method = "asymptotic"
    res = stats.mannwhitneyu(a, b, alternative="two-sided", method=method)
    cases.append({"a": a, "b": b, "kind": kind, "tied": tied, "u": float(res.statistic), "p": float(res.pvalue)})


add([1, 2, 3], [4, 5, 6], "exact")
add([1, 2, 3, 4], [5, 6, 7, 8], "exact")
add([1], [100], "exact")
for n, m in [(3, 3), (5, 5), (3, 8), (10, 10), (20, 20), (7, 15)]:
    for shift in (0, 1, 2.5):
        add(np.round(rng.normal(10, 1, n), 6), np.round(rng.normal(10 + shift, 1, m), 6), "exact")
for n, m in [(3, 3), (5, 5), (3, 6), (7, 4)]:
    for shift in (0, 1, 2):
        add(rng.integers(0, 5, n), rng.integers(0, 5, m) + shift, "exact")
add([2, 2, 2, 2], [2, 2, 2, 2], "exact")
for n, m in [(25, 25), (30, 60), (100, 41)]:
    for shift in (0, 0.5, 2):
        add(np.round(rng.normal(10, 1, n), 6), np.round(rng.normal(10 + shift, 1, m), 6), "asymptotic")
        add(rng.integers(0, 8, n), rng.integers(0, 8, m) + round(shift), "asymptotic")
ps = [[0.01], [0.04, 0.01, 0.03], [0.02, 0.02, 0.5, 1.0], [0.0079, 0.0079, 0.31, 0.056, 0.0079, 0.84], [0.6, 0.9]]
holm = [{"p": p, "adjusted": [float(x) for x in multipletests(p, method="holm")[1]]} for p in ps]
print(json.dumps({"versions": {"statsmodels": statsmodels.__version__, "scipy": scipy.__version__, "numpy": np.__version__, "python": platform.python_version()}, "rankSum": cases, "holm": holm}))
