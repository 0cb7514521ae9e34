#!/usr/bin/env bash
# Wheel and source distribution are built, installed into empty environments, and do what the README shows first.
# Usage: tests/packaging_smoke.sh [PYTHON], a Python that has the package `build`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m build --outdir "$work/dist" . > /dev/null
for package in "$work"/dist/*.whl "$work"/dist/*.tar.gz; do
    rm -rf "$work/empty"
    "$python" -m venv "$work/empty"
    "$work/empty/bin/pip" install --quiet -c constraints.txt "$package"
    "$work/empty/bin/pip" check
    # Outside the sources, so that Python imports what was installed.
    (cd "$work" && "$work/empty/bin/python" -W error - "$(basename "$package")" <<'PYTHON')
import sys
from pathlib import Path

import kvar

assert "site-packages" in kvar.__file__, kvar.__file__
assert (Path(kvar.__file__).parent / "py.typed").exists()
assert not {"sklearn", "statsmodels", "matplotlib", "polars"} & set(sys.modules)
for name in kvar.baseline_names():
    baseline = kvar.make_baseline(name)
    columns = {"true_value": [0.5], "offline_value": [0.5], "completion_length": [[3, 4]], "score_norm": [[1.0, 2.0]]}
    baseline.advantages(["2+3="], [[1.0, 0.0]], 1, **columns)
    kvar.make_baseline(name).load_state_dict(baseline.state_dict())
x = [k / 50 for k in range(50)]
model = kvar.KernelRegressor(bandwidth=kvar.select_bandwidth(x, x).bandwidth).fit(x, x)
assert abs(float(model.predict([0.5])[0]) - 0.5) < 0.1
writer = kvar.TraceWriter("run-of-" + sys.argv[1])
writer.write(0, {"prompt_id": ["a", "a"], "reward": [0.0, 1.0]})
assert len(kvar.read_trace("run-of-" + sys.argv[1])) == 2
PYTHON
    (cd "$work" && empty/bin/kvar audit --demo --out audit > /dev/null && ls audit)
    echo "installs and works: $(basename "$package")"
done
