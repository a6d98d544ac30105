#!/usr/bin/env bash
# first-hour-on-a-gpu.sh [OUT]: what to do first on a machine with a GPU, unattended and within an hour:
# what the machine is, all probes, two nets side by side under each way to share the GPU, a net behind TCP with 1 to 16 clients under each way to share the GPU, a
# profile fitted to the probes, and what that predicts of the loads, which it has not seen.
#
# Each step is a line of OUT/steps.tsv: its name, `ok`, `no` (it says no: exit code 1), `failed` or
# `skipped` (no time was left), its exit code and how many seconds it took; what it said is in OUT/logs. No
# failure ends the rest. At the end OUT.tar.gz has all files that are not large.
#
#   OUT              the folder, which must not be there; tandem-out/first-hour if not given
#   TANDEM           the program; built if not given, with FEATURES (cuda)
#   TANDEM_LIMIT_S   how long all of it may take, in seconds (3300)
#   TANDEM_SHORT     if not empty, few clients and requests: to see whether the script runs
#
# Nothing of the machine is set: no clock, no mode. A Multi-Process Service is started only where none runs,
# and stopped after each run.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
start=$SECONDS
out=${1:-tandem-out/first-hour}
limit_s=${TANDEM_LIMIT_S:-3300}
[ ! -e "$out" ] || { echo "$0: $out is there already" >&2; exit 2; }
mkdir -p "$out/logs" "$out/runs" || exit 2
out=$(cd "$out" && pwd)
printf 'step\thow\tcode\tseconds\n' >"$out/steps.tsv"

clients=(1 2 4 8 16) rounds=(1 2) seconds=5 requests=() step_limit_s=300
if [ -n "${TANDEM_SHORT:-}" ]; then
    clients=(1 2) rounds=(1) seconds=1
    requests=(--set run.warmup.requests=2 --set run.measure.requests=10)
fi

# step NAME COMMAND…: runs it in what is left of the time; its exit code is the command's.
step() {
    local name=$1 began=$SECONDS left_s=$((limit_s - (SECONDS - start))) code=0 how=ok
    shift
    if [ "$left_s" -le 0 ]; then
        printf '%s\tskipped\t-\t0\n' "$name" | tee -a "$out/steps.tsv"
        return 125
    fi
    timeout -k 10 $((left_s < step_limit_s ? left_s : step_limit_s)) "$@" \
        >"$out/logs/$name.txt" 2>"$out/logs/$name.err" </dev/null || code=$?
    case $code in 0) ;; 1) how=no ;; *) how=failed ;; esac
    printf '%s\t%s\t%s\t%s\n' "$name" "$how" "$code" $((SECONDS - began)) | tee -a "$out/steps.tsv"
    return $code
}

if [ -z "${TANDEM:-}" ]; then
    step_limit_s=1200 step build cargo build --release --manifest-path "$here/../Cargo.toml" \
        --features "${FEATURES:-cuda}"
    TANDEM=$here/../target/release/tandem
fi

# What the machine is.
step doctor "$TANDEM" doctor
step doctor-json "$TANDEM" doctor --json
step system uname -a
step processors lscpu
step nvidia-smi nvidia-smi
step nvidia-smi-query nvidia-smi -q
step nvidia-smi-topology nvidia-smi topo -m
step nvidia-smi-list nvidia-smi -L

# Probes, one by one, so that one that fails does not end the others.
# Those of nets side by side are not fitted to: the profile predicts them.
fitted=() pairs=()
: >"$out/logs/probes.txt"
step probes "$TANDEM" probe --gpu --dry-run -q --seconds $seconds -o "$out/probes"
while read -r scenario; do
    name=probe-$(basename "$scenario" .toml)
    step "$name" "$TANDEM" measure -q "$scenario" -o "$out/runs/$name" || continue
    case $name in
    probe-pair-*) pairs+=("$out/runs/$name") ;;
    *) fitted+=("$out/runs/$name") ;;
    esac
done <"$out/logs/probes.txt"

# serve NAME CLIENTS SETTING…: the net behind TCP.
serve() {
    local name=$1 n=$2 settings=()
    shift 2
    for setting in "$@"; do settings+=(--set "$setting"); done
    step "$name" "$TANDEM" measure -q "$here/first-hour-on-a-gpu.toml" "${requests[@]}" \
        --set clients.0.count="$n" "${settings[@]}" -o "$out/runs/$name"
}

# One client, for what the host adds; then loads that the fit does not see.
serve fit-one 1 stages.net.gpu.streams=1 run.seed=8 && fitted+=("$out/runs/fit-one")
declare -A modes=(
    [streams]="stages.net.gpu.streams=N"
    [processes]="stages.net.gpu.streams=1 stages.net.gpu.processes=N"
    [priorities]="stages.net.gpu.streams=N stages.net.gpu.priority=-1"
    [mps]="stages.net.gpu.streams=1 stages.net.gpu.processes=N stages.net.gpu.mps={}"
    [mps-half]="stages.net.gpu.streams=1 stages.net.gpu.processes=N stages.net.gpu.mps.percentage=50"
    [graphs]="stages.net.gpu.streams=N stages.net.gpu.launch=graph"
    [default-stream]="stages.net.gpu.streams=N stages.net.gpu.d2h=default-stream"
)
order=(streams processes priorities mps mps-half graphs default-stream)
for round in "${rounds[@]}"; do
    for mode in "${order[@]}"; do
        for n in "${clients[@]}"; do
            read -ra settings <<<"${modes[$mode]//N/$n}"
            serve "$mode-$n-$round" "$n" "${settings[@]}"
        done
    done
done

step calibrate "$TANDEM" calibrate "${fitted[@]}" -o "$out/profile.toml"
if [ ${#pairs[@]} -gt 0 ]; then
    step validate-pairs "$TANDEM" validate "${pairs[@]}" -p "$out/profile.toml" -o "$out/validation/pairs"
fi
for mode in "${order[@]}"; do
    held_out=()
    for run in "$out"/runs/"$mode"-[0-9]*; do
        [ ! -e "$run/trace.parquet" ] || held_out+=("$run")
    done
    [ ${#held_out[@]} -gt 0 ] || continue
    step "validate-$mode" "$TANDEM" validate "${held_out[@]}" -p "$out/profile.toml" \
        -o "$out/validation/$mode"
done
step report "$TANDEM" report "$out"

# All that is not large: traces of short runs too, so that a fit can be made again.
(cd "$(dirname "$out")" && find "$(basename "$out")" -type f -size -4096k -print0 |
    tar -czf "$out.tar.gz" --null -T -) || { echo "$0: $out.tar.gz cannot be written" >&2; exit 1; }
echo "$out.tar.gz"
