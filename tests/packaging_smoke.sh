#!/usr/bin/env bash
# Wheel and source distribution build, install into empty environments, and do what the README says first.
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
    # Away from the sources, so that what is imported is what was installed.
    (cd "$work" && "$work/empty/bin/python" -W error - <<'PYTHON')
import sys
from pathlib import Path

import kvar

assert "site-packages" in kvar.__file__, kvar.__file__
assert (Path(kvar.__file__).parent / "py.typed").exists()
assert not {"torch", "matplotlib", "polars"} & set(sys.modules)
for name in kvar.baseline_names():
    baseline = kvar.make_baseline(name)
    columns = {"true_value": [0.5], "offline_value": [0.5], "completion_length": [[3, 4]]}
    baseline.advantages(["2+3="], [[1.0, 0.0]], 1, **columns)
    kvar.make_baseline(name).load_state_dict(baseline.state_dict())
try:
    kvar.write_trace(kvar.Trace.from_columns({"step": [0], "prompt_id": [0], "reward": [0.0]}), "trace.parquet")
except ImportError as error:
    assert "pip install 'kvar[report]'" in str(error), error
PYTHON
    echo "installs and works: $(basename "$package")"
done

"$work/empty/bin/pip" install --quiet -c constraints.txt "$(ls "$work"/dist/*.whl)[report]"
"$work/empty/bin/pip" check
(cd "$work" && "$work/empty/bin/python" - <<'PYTHON'
import kvar

writer = kvar.TraceWriter("run")
for step in range(5):
    writer.write(step, {"prompt_id": ["a", "a", "b", "b"], "reward": [0.0, 1.0, 1.0, float(step % 2)]})
PYTHON
)
(cd "$work" && empty/bin/kvar audit run --out audit > audit.txt && ls audit)
echo "the report's command works"
