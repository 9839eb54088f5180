#!/bin/bash
# Builds the C-simulation of this project as a library that hls4ml loads. Runs in any copy of the folder.
set -e
cd "$(dirname "$0")"

CXX="${CXX:-g++}"
FLAGS="-std=c++17 -O2 -fPIC -Ifirmware/ap_types ${CXXFLAGS:-}"
# A library that is loaded again after a change must not keep symbols of the one before.
if echo | "$CXX" -Werror -fsyntax-only -fno-gnu-unique -xc++ - &>/dev/null; then
  FLAGS+=" -fno-gnu-unique"
fi

"$CXX" $FLAGS -c firmware/PROJECT.cpp -o PROJECT.o
"$CXX" $FLAGS -c PROJECT_bridge.cpp -o PROJECT_bridge.o
"$CXX" $FLAGS -shared PROJECT.o PROJECT_bridge.o -ldl -o firmware/PROJECT-STAMP.so
rm -f PROJECT.o PROJECT_bridge.o
