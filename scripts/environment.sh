# Sourced by scripts/quickstart and scripts/test: a virtual environment with this project in it.

fail() {
    echo "error: $*" >&2
    exit 1
}

# install_debian PACKAGE...: with apt-get when this is Debian or Ubuntu and we are root; else a failure.
install_debian() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || return 1
    echo "installing $*"
    [ -n "${apt_is_fresh:-}" ] || apt-get update -qq || return 1
    apt_is_fresh=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# offer TOOL WHAT PACKAGE...: installs the packages when the program TOOL is not there; says that WHAT is skipped otherwise.
offer() {
    local tool=$1 what=$2
    shift 2
    command -v "$tool" >/dev/null || install_debian "$@" || echo "$tool is missing: $what are skipped"
}

# find_python: prints the first Python of 3.10 or newer, or $PYTHON and no other when that is set.
find_python() {
    local python
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# prepare VENV EXTRAS: makes the environment VENV, puts the project with its EXTRAS in, and activates it.
# A second run with the same setup.py installs nothing.
prepare() {
    local venv=$1 extras=$2 python stamp
    python=$(find_python) || { [ -z "${PYTHON:-}" ] && install_debian python3 python3-venv && python=$(find_python); } ||
        fail "Python 3.10 or newer is needed; install it, or name it: PYTHON=/path/to/python3.12 $0"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_debian python3-venv "$(basename "$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')")-venv" ||
            fail "Python's venv module is missing; as root: apt-get install python3-venv"
    fi

    stamp=$(cat setup.py scripts/environment.sh | cksum)
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$stamp $extras" ]; then
        echo "installing into $venv"
        "$python" -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
        echo "$stamp $extras" >"$venv/installed"
    fi
    # shellcheck source=/dev/null
    . "$venv/bin/activate"

    # TVM links what it compiles; the ziglang package holds a compiler for those who cannot install one.
    if ! command -v "${CXX:-g++}" >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
        install_debian g++ || python -m pip install --quiet --disable-pip-version-check ziglang ||
            fail "a C++ compiler is needed; as root: apt-get install g++"
    fi
}
