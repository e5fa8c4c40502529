#!/bin/sh
# Fuzzes the decoders: one target after the other, each for SECONDS seconds of a processor, in one
# process, however busy the machine is. What is found is kept in fuzz/artifacts, inputs that reach
# new code in fuzz/corpus; a line for each run goes into fuzz/log.tsv. Use: fuzz/run.sh [SECONDS [TARGET…]]
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
all='avro_event avro_schema cloudevents cloudevents_batch cloudevents_binary kafka_record numbers catalogue
dead_letter archive_file id_file batch_blob quota_level invoice_number packed_body'
host=$(rustc -vV | sed -n 's/^host: //p')

# LLVM's coverage for libFuzzer, which stable Rust passes on. With --target it is left out of
# build scripts and macros. No sanitizer: the code is safe Rust, which panics instead.
build() {
    RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares' \
        cargo build --quiet --release --target "$host" --bin weir-fuzz
}
program="target/$host/release/weir-fuzz"

build
if [ "$seconds" = seeds ]; then
    for target in $all; do
        mkdir -p "seeds/$target"
        WEIR_FUZZ_TARGET=$target WEIR_FUZZ_SEEDS=seeds/$target "$program"
    done
    exit
fi

# Rounds of this many inputs: usable schemas live as long as a process, so it is begun anew.
runs_of() { case $1 in avro_schema) echo 200000 ;; *) echo -1 ;; esac; }
words_of() {
    case $1 in
    avro_schema) echo dictionaries/avro_schema.txt ;;
    catalogue) echo dictionaries/catalogue.txt ;;
    cloudevents* | kafka_record | quota_level | invoice_number) echo dictionaries/json.txt ;;
    *) echo dictionaries/texts.txt ;;
    esac
}

# Sets `processor` to the seconds of a processor that what was started here has taken so far.
look_at_processor() {
    times >"artifacts/$target.times"
    processor=$(awk 'END { split($1, u, "m"); split($2, s, "m"); print int(60 * (u[1] + s[1]) + u[2] + s[2]) }' \
        "artifacts/$target.times")
}

fuzz() {
    target=$1
    mkdir -p "corpus/$target" artifacts
    began=$(date +%s)
    look_at_processor
    ends=$((processor + seconds))
    executed=0
    found=0
    while :; do
        look_at_processor
        left=$((ends - processor))
        [ "$left" -gt 0 ] || break
        result=0
        WEIR_FUZZ_TARGET=$target "$program" "corpus/$target" "seeds/$target" \
            -max_total_time="$left" -runs="$(runs_of "$target")" -max_len=8192 -timeout=10 -rss_limit_mb=4096 \
            -dict="$(words_of "$target")" -use_value_profile=1 -print_final_stats=1 -reload=0 \
            -artifact_prefix="artifacts/$target-" >"artifacts/$target.log" 2>&1 || result=$?
        units=$(sed -n 's/^stat::number_of_executed_units: *//p' "artifacts/$target.log")
        executed=$((executed + ${units:-0}))
        [ "$result" -eq 0 ] || { found=1; break; }
    done
    taken=$(($(date +%s) - began))
    look_at_processor
    spent=$((processor - ends + seconds))
    last=$(grep -E '^#[0-9]+' "artifacts/$target.log" | tail -1)
    edges=$(echo "$last" | sed -n 's/.* cov: \([0-9]*\).*/\1/p')
    inputs=$(echo "$last" | sed -n 's/.* corp: \([0-9]*\).*/\1/p')
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$target" "$taken" "$spent" "$executed" \
        "${edges:-0}" "${inputs:-0}" "$found" | tee -a log.tsv
    [ "$found" -eq 0 ] || {
        tail -40 "artifacts/$target.log" >&2
        echo "$target: see above; the input is in fuzz/artifacts" >&2
    }
    failed=$((failed + found))
}

failed=0
printf 'ended\ttarget\tseconds\tprocessor\texecuted\tedges\tinputs\tfound\n'
for target in ${*:-$all}; do fuzz "$target"; done
exit "$((failed > 0))"
