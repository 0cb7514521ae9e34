#!/usr/bin/env bash
# Checks the trainer with other versions of TRL, each in a folder of its own before the installed packages.
#   tests/trl_versions.sh PYTHON FOLDER
set -euo pipefail
python=$1 folder=$2
# The oldest that is supported, with the oldest of what it stands on, and two between it and the installed one.
oldest="trl==0.24.0 transformers==4.57.6 huggingface-hub==0.36.0 tokenizers==0.22.1 datasets==4.4.2 accelerate==1.10.1
    peft==0.17.1 httpx==0.28.1 httpcore==1.0.9 h11==0.16.0 anyio==4.11.0 sniffio==1.3.1"
for packages in "$oldest" "trl==0.29.1" "trl==1.10.0"; do
    version=${packages%% *}
    target=$folder/${version#trl==}
    if [ ! -e "$target/installed" ]; then
        rm -rf "$target"
        # Without their dependencies: what they stand on is installed, and torch would come in another build.
        # shellcheck disable=SC2086
        "$python" -m pip install --quiet --no-deps --target "$target" $packages
        touch "$target/installed"
    fi
    echo "TRL ${version#trl==}"
    PYTHONPATH="$PWD/$target:$PWD${PYTHONPATH:+:$PYTHONPATH}" "$python" -m pytest -q tests/llm_train/smoke.py \
        -o filterwarnings=default --disable-warnings
done
