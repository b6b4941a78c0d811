#!/bin/sh
# Makes the test certificates: two self-signed ones with their private keys (PKCS#8, DER), one of them CA:TRUE.
# They are test data and protect nothing.
set -eu
cd "$(dirname "$0")"
make() { # name, CA:TRUE or CA:FALSE
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$1" \
        -addext "basicConstraints=critical,$2" -keyout "$1.pem" -out "$1.crt"
    openssl x509 -in "$1.crt" -outform DER -out "$1.der"
    openssl pkcs8 -topk8 -nocrypt -in "$1.pem" -outform DER -out "$1.key.der"
    rm "$1.pem" "$1.crt"
}
make coordinator CA:TRUE
make stranger CA:FALSE
