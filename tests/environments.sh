#!/bin/bash
# Runs a selection of the tests where a program has less than it is used to: a user who is not root (if started by root),
# a HOME that cannot be written, a TMPDIR full of other files, and a checkout in a path with spaces and letters that are
# not ASCII. Each on its own, then all at once.
#
#     tests/environments.sh PYTHON [ENVIRONMENT ...]
#
# PYTHON has the requirements installed, and every user can run it. Environments: user, home, tmpdir, path, all.
# TESTS=tests runs the whole suite (add PYTEST_OPTIONS="-n 2").
set -eu
python=$(realpath --no-symlinks "$1")
shift
[ $# -gt 0 ] || set -- user home tmpdir path all
root=$(cd "$(dirname "$0")/.." && pwd)
default_tests="
    tests/test_cli.py tests/test_files.py tests/test_evaluate.py tests/commands/test_segment.py
    tests/training/test_workdir.py tests/training/test_train.py tests/data/test_prepare.py tests/test_package.py"
NOBODY=65534
compiled=$(mktemp -d) # programs that the first run compiles and the others find
chmod 777 "$compiled"

run_in() {
    local scratch checkout home tmp user=() names=" $1 "
    [ "$1" = all ] && names=" user home tmpdir path "
    scratch=$(mktemp -d)
    home=$scratch/home tmp=$scratch/tmp checkout=$scratch/checkout
    [[ $names = *" path "* ]] && checkout="$scratch/ünï çôde dir"
    git clone --quiet "$root" "$checkout"
    mkdir "$home" "$tmp"
    if [[ $names = *" tmpdir "* ]]; then
        for number in $(seq 3000); do echo other > "$tmp/other $number"; done
        mkdir "$tmp/pytest-of-other" "$tmp/compiled_" "$tmp/tmpdir"
        ln -s nowhere "$tmp/dangling"
    fi
    chmod 755 "$scratch"
    if [[ $names = *" user "* ]] && [ "$(id -u)" = 0 ]; then
        user=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
        chown -R $NOBODY:$NOBODY "$checkout" "$tmp" "$home"
    fi
    if [[ $names = *" home "* ]]; then
        if [ "$(id -u)" = 0 ] && [ ${#user[@]} = 0 ]; then
            home=/proc/sys  # root can write to any folder of a real file system
        else
            chown -R "$(id -u)" "$home" && chmod 555 "$home"
        fi
    fi
    echo "== $1: $checkout, HOME=$home, TMPDIR=$tmp ${user[*]:-}"
    (
        cd "$checkout"
        # The checkout that is tested, whatever is installed. Nothing of the caller's settings of JAX reaches the tests.
        env -i PATH="$PATH" LANG="${LANG:-C.UTF-8}" HOME="$home" TMPDIR="$tmp" PYTHONPATH="$checkout" \
            PYTHONDONTWRITEBYTECODE=1 JAX_COMPILATION_CACHE_DIR="$compiled" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
            "${user[@]}" "$python" -m pytest -p no:cacheprovider ${PYTEST_OPTIONS:-} ${TESTS:-$default_tests}
    )
    chmod -R u+w "$scratch" && rm -rf "$scratch"
}

for environment; do run_in "$environment"; done
rm -rf "$compiled"
