#!/bin/sh
# Registers, shared memory, spills and instruction mix of every CUDA kernel, from the compiler's own report and the
# machine code. usage: cuda_resources.sh [-f NAME] [ARCHITECTURE...] (default: 75 80 86 89 90a 120)
#
# -f NAME: only the sources cuda/NAME*.cu, for example -f tmm.
# Exit status: 1 if a ternary product (tmm_*) spills on an architecture that runs it or the compiler makes wgmma wait for
# each other, 2 on misuse, 4 without nvcc.
# Nothing here needs a GPU. The instruction mix needs nvdisasm (CUDA toolkit, or the PyPI package nvidia-cuda-nvdisasm);
# without it those columns say "-". Environment: NVCC, NVDISASM.
set -eu
cd "$(dirname "$0")/.."
sources=
case ${1:-} in
-h | --help)
    sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'
    exit 0
    ;;
-f)
    [ $# -ge 2 ] || {
        echo "cuda_resources.sh: -f needs a name; try --help" >&2
        exit 2
    }
    sources=$2
    shift 2
    ;;
-*)
    echo "cuda_resources.sh: unknown option $1; try --help" >&2
    exit 2
    ;;
esac
[ $# -gt 0 ] || set -- 75 80 86 89 90a 120

nvcc=${NVCC:-$(command -v nvcc || true)}
if [ -z "$nvcc" ]; then
    echo "cuda_resources.sh: no nvcc on PATH; set NVCC or install the CUDA compiler" >&2
    exit 4
fi
nvdisasm=${NVDISASM:-$(command -v nvdisasm || true)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One line a kernel: kernel architecture registers shared stack spill_stores spill_loads
report() {
    sed -n -e "s/.*Compiling entry function '\([^']*\)'.*/kernel \1/p" \
        -e 's/^ *\([0-9]*\) bytes stack frame, \([0-9]*\) bytes spill stores, \([0-9]*\) bytes spill loads.*/stack \1 \2 \3/p' \
        -e 's/.*Used \([0-9]*\) registers.*/&/p' "$1" |
        awk -v architecture="$2" '
            $1 == "kernel" { name = $2 }
            $1 == "stack" { stack = $2; stores = $3; loads = $4 }
            /Used [0-9]+ registers/ {
                shared = 0
                for (i = 1; i <= NF; i++) {
                    if ($i == "Used") registers = $(i + 1)
                    if ($i == "smem,") shared = $(i - 2)
                    if ($i == "smem") shared = $(i - 2)
                }
                print name, architecture, registers, shared, stack, stores, loads
            }'
}

# One line a kernel: kernel architecture instructions imma dp4a lop_shift_permute global shared copies
mix() {
    "$nvdisasm" -c "$1" 2>/dev/null | awk -v architecture="$2" '
        function flush() {
            if (name != "") print name, architecture, n, imma, dp4a, logic, global, shared, copies
            n = imma = dp4a = logic = global = shared = copies = 0
        }
        /^\.text\./ {
            flush()
            name = $1
            sub(/^\.text\./, "", name)
            sub(/:$/, "", name)
        }
        /^ *\/\*[0-9a-f]+\*\// {
            line = $0
            sub(/^ *\/\*[0-9a-f]+\*\/ */, "", line)
            sub(/^@!?U?P[0-9T]+ */, "", line)
            op = line
            sub(/[ ;].*/, "", op)
            if (op == "NOP") next
            n++
            if (op ~ /^(IMMA|IGMMA|HMMA)/) imma++
            else if (op ~ /^IDP/) dp4a++
            else if (op ~ /^(LOP3|PLOP3|SHF|PRMT|SHL|SHR|LEA)/) logic++
            else if (op ~ /^(LDGSTS|UBLKCP)/) copies++
            else if (op ~ /^(LDG|STG|RED|ATOMG)/) global++
            else if (op ~ /^(LDS|STS|ATOMS|LDSM)/) shared++
        }
        END { flush() }'
}

: >"$work/resources"
: >"$work/mix"
for architecture in "$@"; do
    for source in cuda/"$sources"*.cu; do
        cubin=$work/$(basename "$source" .cu).$architecture.cubin
        "$nvcc" -std=c++17 -O3 --fmad=false --prec-div=true --prec-sqrt=true --ftz=false -Icommon -Icuda \
            -gencode "arch=compute_$architecture,code=sm_$architecture" -cubin -Xptxas -v -o "$cubin" "$source" \
            >"$work/log" 2>&1 || {
            cat "$work/log" >&2
            exit 1
        }
        if grep 'wgmma.*serialized' "$work/log" >&2; then exit 1; fi
        report "$work/log" "$architecture" >>"$work/resources"
        [ -z "$nvdisasm" ] || mix "$cubin" "$architecture" >>"$work/mix"
    done
done

printf '%-34s %5s %5s %7s %6s %11s %7s %5s %5s %6s %6s %6s %6s\n' kernel sm_ regs static stack 'spill st/ld' \
    instr mma dp4a logic global shared async
awk -v mix="$work/mix" '
    BEGIN { while ((getline line < mix) > 0) { split(line, f, " "); of[f[1] " " f[2]] = line } }
    {
        m = of[$1 " " $2]
        if (m == "") m = "- - - - - - - - -"
        split(m, f, " ")
        print $1, $2, $3, $4, $5, $6 "/" $7, f[3], f[4], f[5], f[6], f[7], f[8], f[9]
    }' "$work/resources" | c++filt -p | sed -e 's/(anonymous namespace):://g' -e 's/^void //' |
    awk '
    {
        # A demangled name may hold blanks: the columns are the last twelve words.
        name = $1
        for (i = 2; i <= NF - 12; i++) name = name $i
        printf "%-34s %5s %5s %7s %6s %11s %7s %5s %5s %6s %6s %6s %6s\n", name, $(NF - 11), $(NF - 10), $(NF - 9),
            $(NF - 8), $(NF - 7), $(NF - 6), $(NF - 5), $(NF - 4), $(NF - 3), $(NF - 2), $(NF - 1), $NF
        if (name ~ /^tmm_/ && $(NF - 7) != "0/0") spilled = spilled " " name "@sm_" $(NF - 11)
    }
    END {
        if (spilled != "") { print "spills in ternary products:" spilled; exit 1 }
        print "no spills in ternary products"
    }'
