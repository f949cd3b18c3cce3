#!/bin/sh
# An nginx in front of a storage server: what stands between a device and its bucket in the field.
#
#   front.sh start DIR UPSTREAM ELSEWHERE TLS OLD TURN MOVED
#   front.sh stop DIR
#
# All but DIR are ports of 127.0.0.1. TLS ends there for UPSTREAM at TLS, with a certificate of
# DIR/ca.pem for 127.0.0.1 and storage.test, and at OLD with one that has ended. TURN answers every
# request with a redirect (307) to ELSEWHERE, MOVED as S3 does for a bucket of another region (301).
# Package: nginx-light. With OWNER_PID set, it ends soon after that process, however that one ends.
set -eu

usage() {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=test authority" \
        -keyout "$dir/ca.key" -out "$dir/ca.pem"
}

certificate() { # NAME BEGIN END
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$dir/$1.key" -out "$dir/$1.csr"
    printf 'subjectAltName=IP:127.0.0.1,DNS:storage.test\n' >"$dir/$1.ext"
    : >"$dir/index.txt"
    openssl ca -batch -notext -config "$dir/ca.conf" -startdate "$2" -enddate "$3" -extfile "$dir/$1.ext" \
        -in "$dir/$1.csr" -out "$dir/$1.pem"
}

certificates() {
    cat >"$dir/ca.conf" <<END
[ca]
default_ca = only
[only]
new_certs_dir = $dir
database = $dir/index.txt
rand_serial = yes
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
policy = any
[any]
commonName = supplied
END
    authority
    certificate good "$(date -u -d '-1 day' +%Y%m%d%H%M%SZ)" "$(date -u -d '+20 days' +%Y%m%d%H%M%SZ)"
    certificate old 20200101000000Z 20210101000000Z
}

configure() {
    cat >"$dir/nginx.conf" <<END
worker_processes 1;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 64; }
http {
    access_log $dir/access.log;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_set_header Host \$http_host;
    proxy_set_header Connection "";
    server {
        listen 127.0.0.1:$tls ssl;
        ssl_certificate $dir/good.pem;
        ssl_certificate_key $dir/good.key;
        location / { proxy_pass http://127.0.0.1:$upstream; }
    }
    server {
        listen 127.0.0.1:$old ssl;
        ssl_certificate $dir/old.pem;
        ssl_certificate_key $dir/old.key;
        location / { proxy_pass http://127.0.0.1:$upstream; }
    }
    server {
        listen 127.0.0.1:$turn;
        location / { return 307 http://127.0.0.1:$elsewhere\$request_uri; }
    }
    server {
        listen 127.0.0.1:$moved;
        location / {
            add_header x-amz-bucket-region eu-west-1 always;
            return 301 http://127.0.0.1:$elsewhere\$request_uri;
        }
    }
}
END
}

guard() {
    tail --pid="$OWNER_PID" -f /dev/null
    ! tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$dir" || kill -KILL "$1"
}

start() {
    if ! command -v nginx >/dev/null; then
        echo "nginx is missing: apt-get install nginx-light" >&2
        exit 3
    fi
    mkdir -p "$dir"
    certificates >"$dir/certificates.log" 2>&1
    configure
    nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/error.log" -g 'daemon off; master_process off;' \
        >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/started"
    [ -z "${OWNER_PID:-}" ] || guard "$(cat "$dir/started")" >/dev/null 2>&1 </dev/null &
    for _ in $(seq 200); do
        curl -s --noproxy '*' -o /dev/null "http://127.0.0.1:$moved/" && exit 0
        kill -0 "$(cat "$dir/started")" 2>/dev/null || break
        sleep 0.05
    done
    echo "nginx did not start: $(tail -n 3 "$dir/error.log" "$dir/log")" >&2
    exit 1
}

stop() {
    kill -TERM "$(cat "$dir/started")" 2>/dev/null || true
    rm -f "$dir/started"
}

[ $# -ge 2 ] || usage
dir=$2
case $1 in
start)
    [ $# -eq 8 ] || usage
    upstream=$3 elsewhere=$4 tls=$5 old=$6 turn=$7 moved=$8
    start
    ;;
stop) stop ;;
*) usage ;;
esac
