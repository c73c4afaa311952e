#!/usr/bin/env bash
# rabbitmq4.sh DESTINATION
# Unpacks RabbitMQ 4 of Debian 13, with its Erlang and the libraries that this needs, into DESTINATION. The RabbitMQ of
# this system is left as it is. DESTINATION/bin has rabbitmq4-server and rabbitmq4ctl. Needs no root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libraries=(libc6 libgcc-s1 libssl3t64 libstdc++6 libsystemd0 libtinfo6 libzstd1 libcap2 zlib1g)
erlang=(asn1 base crypto eldap ftp inets mnesia os-mon parsetools public-key runtime-tools snmp ssl syntax-tools tftp
    tools xmerl)

# Erlang's programs are linked with a newer libc than this system may have: each is started by the dynamic linker of the
# folder, with the libraries there, and with those of this system for the programs that it starts itself.
wrap_programs() {
    local root=$1 linker file
    linker=$(compgen -G "$root/usr/lib/*/ld-linux-*" | sed -n 1p)
    for file in "$root"/usr/lib/erlang/{bin,erts-*/bin,lib/*/priv/bin}/*; do
        if [ -L "$file" ] || [ ! -f "$file" ] || ! head -c 4 "$file" | grep -q ELF; then continue; fi
        mv "$file" "$file.elf"
        script "$linker --library-path $(dirname "$linker") --argv0 $file $file.elf" > "$file"
        chmod 755 "$file"
    done
}

# The scripts name the folder in which Debian installs Erlang.
relocate_scripts() {
    local erlang=$1/usr/lib/erlang
    sed -i "s|=/usr/lib/erlang|=$erlang|" "$erlang"/bin/{erl,start} "$erlang"/erts-*/bin/{erl,start}
}

write_commands() {
    local root=$1 name program
    mkdir -p "$root/bin"
    for name in rabbitmq-server rabbitmqctl; do
        program=$(compgen -G "$root/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/$name")
        script "$program" "PATH=$root/usr/lib/erlang/bin:\$PATH " > "$root/bin/${name/rabbitmq/rabbitmq4}"
    done
    chmod 755 "$root"/bin/*
}

script() { printf '#!/bin/sh\n%sexec %s "$@"\n' "${2:-}" "$1"; }

main() {
    local destination=$1
    bash "$here/other_suite.sh" trixie "$destination" rabbitmq-server "${libraries[@]}" "${erlang[@]/#/erlang-}"
    wrap_programs "$destination"
    relocate_scripts "$destination"
    write_commands "$destination"
}

main "$@"
