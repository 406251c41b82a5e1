#!/usr/bin/env bash
# Runs what this bundle holds on the GPUs of this machine: the tests of kernels, the torture list and random programs
# on each device that is there, then the benchmarks, and prints a table. Needs a driver, and nothing else.
#
#   ./run.sh [--quick] [--out FOLDER] [cuda] [vulkan] [cpu]     (cuda and vulkan, as far as they are there)
#
# --quick leaves out all tests but those of backends. The logs lie in FOLDER (results), the table in FOLDER/table.txt.
set -u
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
out="results" quick=0 wanted=()
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1; shift ;;
    --out) out="${2:?--out needs a folder}"; shift 2 ;;
    cuda | vulkan | cpu) wanted+=("$1"); shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
  esac
done
mkdir -p "$out"
out="$(cd "$out" && pwd)"
export FLUXION_CACHE_DIR="$out/cache"

# The system's C library runs all this if it is new enough; otherwise the bundle's own does.
start=(env "LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")
prefix=""
if ! "${start[@]}" "$here/bin/fluxion-info" >"$out/info.txt" 2>&1; then
  start=("$here/libc/ld-linux-x86-64.so.2" --library-path "$here/libc:$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")
  prefix=" (with the bundle's C library)"
  "${start[@]}" "$here/bin/fluxion-info" >"$out/info.txt" 2>&1 || { cat "$out/info.txt"; echo "nothing runs here"; exit 1; }
fi
cat "$out/info.txt"
echo "== $(uname -sm), $(nproc) cores, $(date -u +%Y-%m-%d)$prefix" | tee "$out/table.txt"

present() { FLUXION_DEVICE="$1" "${start[@]}" "$here/bin/bench_device" --device "$1" --only none >"$out/$1.present" 2>&1; }
if [ ${#wanted[@]} -eq 0 ]; then wanted=(cuda vulkan); fi
failed=0 ran=0
for device in "${wanted[@]}"; do
  if ! present "$device"; then
    echo "skipped: $device: $(tail -n 1 "$out/$device.present")" | tee -a "$out/table.txt"
    continue
  fi
  ran=1
  echo "== $device: $(head -n 1 "$out/$device.present")" | tee -a "$out/table.txt"
  run_tests() {  # PROGRAM SPEC
    local log="$out/$device.$1.log" status=0 begin=$SECONDS
    FLUXION_DEVICE="$device" timeout "${FLUXION_BUNDLE_LIMIT:-1500}" "${start[@]}" "$here/bin/$1" "$2" >"$log" 2>&1 || status=$?
    local closing
    closing="$(grep -aE '^(All tests passed|test cases:)' "$log" | tail -n 1)"
    # Without a closing line nothing has run to its end.
    if [ $status -ne 0 ] || [ -z "$closing" ]; then failed=1; fi
    echo "$1: ${closing:-no result}, status $status, $((SECONDS - begin)) s, $(grep -ac '^skipped:' "$log") skipped" | tee -a "$out/table.txt"
  }
  run_tests test_backends "~[fake_cuda]"
  if [ $quick -eq 0 ]; then
    run_tests test_jit "~[info]"
    [ "$device" = cpu ] || run_tests test_fuzz "[$device]"
  fi
  timeout "${FLUXION_BUNDLE_LIMIT:-1500}" "${start[@]}" "$here/bin/bench_device" --device "$device" --json "$out/$device.jsonl" 2>&1 | tee -a "$out/table.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
done
[ $ran -eq 1 ] || { echo "no GPU that Fluxion can use"; exit 1; }
echo "the table is $out/table.txt"
exit $failed
