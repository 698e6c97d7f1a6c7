#!/usr/bin/env bash
# A machine with a GPU, for ten minutes: what is prepared here, recorded there, and judged here again.
#
#   gpu.sh pack FOLDER               here: the runner with all programs; FOLDER is then taken to the machine
#   gpu.sh record FOLDER [DEVICE]    there: a recording of each row below; DEVICE is cuda:0 (default), or cpu to try it
#   gpu.sh judge FOLDER [DEVICE]     here, with what has come back: a result of each row, and the comparisons
#
# The machine needs bash, Python 3.11 or newer, NumPy, ml_dtypes and the frameworks: no network, nothing of ours.
# SECONDS_IN_ALL (default 570) is all that `record` takes, JOBS (default 6) how many rows are recorded at a time, PYTHON
# the interpreter. A recording that time cut off is FOLDER/NAME.trace.part, and the same command goes on with it.
# GPU_ROWS names some of the rows alone, GPU_DTYPES the dtypes of all of them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
halves="float32 float16 bfloat16"

# name | backend | dtypes; what matters most comes first.
rows() {
    cat <<ROWS
torch.nn | torch.nn | float64 $halves
torch.nn+channels_last | torch.nn+channels_last | float64 $halves
torch.nn+no_cudnn | torch_settings.py:NoCudnn | float64 $halves
torch.nn+deterministic | torch_settings.py:Deterministic | $halves
torch.nn+tf32 | torch_settings.py:Tf32 | float32
torch.nn+autocast | torch_settings.py:Autocast | $halves
flax.nnx | flax.nnx | float32 bfloat16
flax.linen | flax.linen | float32
equinox | equinox | float32
onnxruntime | onnxruntime | float32
torch.nn+compile | torch.nn+compile | float32
ROWS
}

wanted() {
    rows | while IFS='|' read -r name backend dtypes; do
        name=${name// /}
        dtypes=${GPU_DTYPES:-$dtypes}
        if [[ -z ${GPU_ROWS:-} || " $GPU_ROWS " == *" $name "* ]]; then echo "$name ${backend// /} $dtypes"; fi
    done
}

pack() {
    local folder=$1 given=() dtypes
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    cp "$here/gpu.sh" "$folder/"
    while read -r _ backend _; do given+=(--backend "$backend"); done < <(wanted)
    while read -r dtypes; do given+=(--dtype "$dtypes"); done < <(wanted | cut -d ' ' -f 3- | tr ' ' '\n' | sed '/^$/d' | sort -u)
    # From here, so that the file of the settings is called the same there, where it comes with the runner.
    (cd "$here" && bnconform runner "$folder/gpu.pyz" "${given[@]}")
}

one() {
    local folder=$1 device=$2 name=$3 backend=$4 began=$SECONDS status=0
    local log=$folder/$name.log left=$((SECONDS_IN_ALL - SECONDS)) dtypes=()
    for dtype in "${@:5}"; do dtypes+=(--dtype "$dtype"); done
    if ((left < 5)); then echo "$name: no time left"; return; fi
    timeout "$left" "$PYTHON" "$folder/gpu.pyz" record "$backend" --device "$device" "${dtypes[@]}" \
        --out "$folder/$name.trace" >"$log" 2>&1 || status=$?
    echo "$name: status $status, $((SECONDS - began)) s, $(du -ch "$folder/$name".trace* 2>/dev/null | tail -n 1 | cut -f 1)" \
        "$(grep -v '^judge' "$log" | tail -n 1)"
}

record() {
    local folder=$1 device=${2:-cuda:0} name backend dtypes
    export PYTHON=${PYTHON:-python3} SECONDS_IN_ALL=${SECONDS_IN_ALL:-570}
    # JAX would take most of the GPU's memory for each process; deterministic cuBLAS wants a workspace.
    export XLA_PYTHON_CLIENT_PREALLOCATE=false CUBLAS_WORKSPACE_CONFIG=:4096:8
    if [[ $device == cuda* ]]; then nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; fi
    while read -r name backend dtypes; do
        while (($(jobs -rp | wc -l) >= ${JOBS:-6})); do wait -n || true; done
        # shellcheck disable=SC2086
        one "$folder" "$device" "$name" "$backend" $dtypes &
    done < <(wanted)
    wait
}

judge() {
    local folder=$1 device=${2:-cuda:0} name
    for trace in "$folder"/*.trace; do
        if [[ ! -e $trace ]]; then echo "$folder has no recording that is whole" >&2; return 2; fi
        name=$(basename "$trace" .trace)
        bnconform judge "$trace" --level may --json "$folder/$name.json" >"$folder/$name.txt" 2>&1 || test $? -eq 1
        # The last paragraph, which says what holds.
        awk 'BEGIN { RS = "" } { last = $0 } END { print last }' "$folder/$name.txt" | sed '/^next:/,$d'
    done
    # Then the comparisons: torch.nn itself is judged after rows whose names begin with it.
    for trace in "$folder"/torch.nn+*.trace; do
        name=$(basename "$trace" .trace)
        if [[ ! -e $folder/torch.nn.json || ! -e $folder/$name.json ]]; then continue; fi
        bnconform compare "$folder/torch.nn.json" "$folder/$name.json" --pair "torch.nn:$device=$name:$device" \
            >"$folder/$name.differs.txt" || test $? -le 2
        tail -n 1 "$folder/$name.differs.txt"
    done
}

case ${1:-} in
    pack | record | judge) "$@" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
