#!/bin/sh
# An identity provider's key and its tokens (JSON Web Tokens, RS256), for suites that play one.
#
#   identity.sh make DIR                     DIR/identity.key and identity.pem
#   identity.sh thumbprint DIR               SHA-1 of the certificate, in hex
#   identity.sh token DIR ISSUER AUDIENCE SECONDS   a token that ends in so many seconds (or did)
set -eu

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

url64() {
    openssl base64 -A | tr '+/' '-_' | tr -d '='
}

token() { # ISSUER AUDIENCE SECONDS
    now=$(date +%s)
    begin=$((now - 3600))
    head=$(printf '{"alg":"RS256","typ":"JWT","kid":"1"}' | url64)
    who=$(printf '"sub":"camera","oid":"camera","tid":"tenant","client_id":"%s"' "$2")
    body=$(printf '{"iss":"%s","aud":"%s",%s,"iat":%d,"nbf":%d,"exp":%d}' \
        "$1" "$2" "$who" $begin $begin $((now + $3)) | url64)
    signature=$(printf '%s.%s' "$head" "$body" |
        openssl dgst -sha256 -sign "$dir/identity.key" -binary | url64)
    printf '%s.%s.%s' "$head" "$body" "$signature"
}

[ $# -ge 2 ] || usage
dir=$2
case $1 in
make) openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=identity \
    -keyout "$dir/identity.key" -out "$dir/identity.pem" 2>/dev/null ;;
thumbprint) openssl x509 -in "$dir/identity.pem" -noout -fingerprint -sha1 |
    sed 's/.*=//; s/://g' ;;
token) [ $# -eq 5 ] || usage; token "$3" "$4" "$5" ;;
*) usage ;;
esac
