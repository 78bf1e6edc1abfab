#!/bin/sh
# Installs the build into a temporary prefix and compiles README's example against the installed copy: with pkg-config
# (shared), and with find_package(tern) (shared and static). Each program must write text.
# usage: test_install.sh BUILD_DIR SOURCE_DIR CC
set -eu
build=$1
source=$2
cc=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
for file in bin/tern include/tern.h include/tern_status.h share/man/man1/tern.1; do
    [ -f "$work/prefix/$file" ] || { echo "install: $file is missing"; exit 1; }
done

# The first C block of README.md is the example.
awk '/^```c$/ {on = 1; next} /^```$/ {if (on) exit} on' "$source/README.md" >"$work/example.c"
lines=$(wc -l <"$work/example.c")
[ "$lines" -ge 10 ] && [ "$lines" -le 30 ] || { echo "install: README's example has $lines lines"; exit 1; }

check_output() {
    [ "$(wc -c <"$1")" -ge 20 ] || { echo "install: $2 wrote no text"; cat "$1"; exit 1; }
}

pc=$(dirname "$(find "$work/prefix" -name tern.pc)")
lib=$(dirname "$(find "$work/prefix" -name 'libtern.so.0')")
flags=$(PKG_CONFIG_PATH="$pc" pkg-config --define-variable=prefix="$work/prefix" --cflags --libs tern)
# shellcheck disable=SC2086
"$cc" -std=c11 -Wall -Wextra -Werror "$work/example.c" -o "$work/example" $flags -Wl,-rpath,"$lib"
"$work/example" "$source/models/stories" >"$work/shared.txt"
check_output "$work/shared.txt" "the pkg-config program"

mkdir "$work/consumer"
cp "$work/example.c" "$work/consumer/"
cat >"$work/consumer/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(tern 0.1 REQUIRED)
add_executable(with_shared example.c)
target_link_libraries(with_shared tern::tern)
add_executable(with_static example.c)
target_link_libraries(with_static tern::tern_static)
CMAKE
cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_C_COMPILER="$cc" >"$work/consumer.log"
cmake --build "$work/consumer/build" >>"$work/consumer.log" || { cat "$work/consumer.log"; exit 1; }
for program in with_shared with_static; do
    "$work/consumer/build/$program" "$source/models/stories" >"$work/$program.txt"
    cmp "$work/shared.txt" "$work/$program.txt"
done

# Nothing but tern_* leaves the libraries.
for library in "$lib/libtern.so" "$lib/libtern.a"; do
    case $library in *.so) option=-D ;; *) option=-g ;; esac
    extra=$(nm $option --defined-only "$library" | awk 'NF == 3 && $3 !~ /^(tern_|_init$|_fini$|__|_edata$|_end$)/ {print $3}')
    [ -z "$extra" ] || { echo "install: $library exports $extra"; exit 1; }
done
echo "install: ok"
