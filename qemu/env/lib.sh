# Shared by the environment scripts: where things are, and how they are keyed. Sourced, never run.
# shellcheck shell=bash

ENV_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$ENV_DIR/../.." && pwd)
CACHE=${DEVLEND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/devlend}

# shellcheck source=series
. "$ENV_DIR/series"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# One short key for a stage: the hash of everything the stage is made from.
key_of() { cat "$@" | sha256sum | cut -c1-12; }

packages() { grep -v '^#' "$ENV_DIR/packages.$1" | paste -sd,; }

# `debug`, or another of qemu/kernel/*.config; or `stock`, the kernel that Debian built, with a root of its own: it needs Debian's own
# compilers, where the others are built with those of backports.
KERNEL_FLAVOUR=${DEVLEND_KERNEL:-debug}
GUEST_KEY=$(key_of "$ENV_DIR/series" "$ENV_DIR/packages.guest" "$ENV_DIR/stage-guest" "$TOP"/qemu/guest/*)
if [ "$KERNEL_FLAVOUR" = stock ]; then
    STAGES="stock-tools stock guest"
    ROOT_KEY=$(key_of "$ENV_DIR"/{series,packages.stock,preferences,fetch-image,stage-stock-tools})
    KERNEL_KEY=$(key_of <(echo "$ROOT_KEY") "$ENV_DIR/stage-stock" "$TOP/packaging/kernel-tree" "$TOP/qemu/kernel/initramfs")
    TOOLS_ROOT=$CACHE/stock-tools-$ROOT_KEY
    # Where our modules for that kernel are built, from the top of the checkout; the bed's hosts see it as /devlend.
    MODULES_OUT=target/modules/stock
else
    STAGES="tools kernel guest"
    ROOT_KEY=$(key_of "$ENV_DIR/series" "$ENV_DIR/packages.tools" "$ENV_DIR/stage-tools")
    KERNEL_KEY=$( { echo "$ROOT_KEY $KERNEL_FLAVOUR"; cat "$ENV_DIR/stage-kernel" "$TOP"/qemu/kernel/common.config "$TOP/qemu/kernel/$KERNEL_FLAVOUR.config"; } | sha256sum | cut -c1-12)
    TOOLS_ROOT=$CACHE/tools-$ROOT_KEY
    MODULES_OUT=target/modules/$LINUX_SERIES-$KERNEL_FLAVOUR
fi
KERNEL_TREE=$CACHE/linux-$KERNEL_FLAVOUR-$KERNEL_KEY
GUEST_IMAGE=$CACHE/guest-$GUEST_KEY.img
LOGS=$CACHE/logs
# Sockets, consoles and disks of a running bed: a short path (a UNIX socket's has at most 107 bytes), one a checkout.
RUN_DIR=${DEVLEND_RUN:-${TMPDIR:-/tmp}/devlend-$(printf %s "$TOP" | sha256sum | cut -c1-8)}

# The first Debian archive apt knows.
archive() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# The Debian mirror this machine itself uses; DEVLEND_MIRROR overrides it.
mirror() {
    if [ -n "${DEVLEND_MIRROR:-}" ]; then
        echo "$DEVLEND_MIRROR"
        return
    fi
    local uri
    uri=$(archive)
    if [ -z "$uri" ]; then
        # A fresh machine has no package lists, and so no names of archives.
        apt-get update >/dev/null 2>&1 || true
        uri=$(archive)
    fi
    [ -n "$uri" ] || die "apt knows no Debian archive on this machine: run 'apt-get update', or set DEVLEND_MIRROR=URI"
    echo "$uri"
}

# The apt options (proxies, certificates) of this machine, one mmdebstrap argument a line; DEVLEND_APTOPTS adds more.
apt_options() {
    apt-config dump | grep -E '^Acquire::(https?(::|$)|Retries)' | grep -v '""' | sed 's/^/--aptopt=/' || true
    [ -z "${DEVLEND_APTOPTS:-}" ] || printf -- '--aptopt=%s\n' "$DEVLEND_APTOPTS"
}

# Runs a long step: its output goes to a log, a line every few seconds says that it lives, a failure shows the log's end.
long_step() {
    local name=$1 log=$LOGS/$2.log start=$SECONDS pid
    shift 2
    mkdir -p "$LOGS"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    # An interrupted setup must not leave its step running.
    trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ -t 2 ]; then
            printf '\r\033[K    %s: %ds  %s' "$name" $((SECONDS - start)) "$(tail -n1 "$log" | tr -d '\r' | cut -c1-80)" >&2
        elif [ $(((SECONDS - start) % 15)) = 0 ]; then
            printf '    %s: %ds  %s\n' "$name" $((SECONDS - start)) "$(tail -n1 "$log" | tr -d '\r' | cut -c1-80)" >&2
        fi
    done
    trap - INT TERM
    [ ! -t 2 ] || printf '\r\033[K' >&2
    if ! wait "$pid"; then
        printf -- '----- last lines of %s\n' "$log" >&2
        tail -n 25 "$log" >&2
        die "$name failed after $((SECONDS - start)) s; the whole log is $log"
    fi
    say "$name: done in $((SECONDS - start)) s"
}
