#!/usr/bin/env bash
# other_suite.sh SUITE DESTINATION PACKAGE...
# Unpacks packages of another Debian suite into DESTINATION. Installs nothing, leaves apt's own settings and
# lists alone, and needs no root: apt gets a source list and folders of its own, which go when it is done.
set -euo pipefail

apt_get() {
    timeout 300 apt-get -qq \
        -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts="$scratch/parts" \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts="$scratch/parts" \
        -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@"
}

# The mirror that this machine uses for its own packages. Other origins have no Debian suites.
mirror() {
    # shellcheck disable=SC2016 # apt fills in $(REPO_URI), not the shell
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

write_sources() {
    local suite=$1 address
    address=$(mirror)
    if [ -z "$address" ]; then
        echo "no Debian mirror is known here: run apt-get update on a Debian system first" >&2
        return 1
    fi
    mkdir -p "$scratch"/{parts,lists/partial,cache/archives/partial,packages,root}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $address $suite main" \
        > "$scratch/sources.list"
}

unpack() {
    local package
    (cd "$scratch/packages" && apt_get download "$@")
    for package in "$scratch"/packages/*.deb; do
        dpkg -x "$package" "$scratch/root"
    done
}

main() {
    local suite=$1 destination=$2
    shift 2
    scratch=$destination.part
    trap 'rm -rf "$scratch"' EXIT
    rm -rf "$scratch"
    write_sources "$suite"
    apt_get update
    unpack "$@"
    rm -rf "$destination"
    mv "$scratch/root" "$destination"
}

main "$@"
