#!/bin/sh
# A Ceph of one node (a monitor, one object store in memory, the RADOS gateway) as a strict S3
# server for one suite: in a folder and on two ports of the caller's choice, loopback only, without
# root's services.
#
#   rgw.sh start DIR PORT MONITOR_PORT  everything anew; returns when S3 answers
#   rgw.sh pause DIR                    ends the gateway alone, hard; the data stays
#   rgw.sh resume DIR PORT              starts it again
#   rgw.sh role DIR NAME ISSUER [ACTION RESOURCE]   a role for whoever ISSUER (without its scheme)
#                                       vouches for, with that right or all, such as
#                                       s3:PutObject bucket/prefix/*; and the right to name issuers
#   rgw.sh user DIR PORT NAME ACCESS_KEY SECRET_KEY ACTION RESOURCE...   a user with that right, and
#                                       none to read, list or delete, not even what it stored
#   rgw.sh auditor DIR NAME ACCESS_KEY SECRET_KEY   a user who may read what others stored
#   rgw.sh stop DIR                     ends all three and waits until they are gone
#
# Packages: radosgw ceph-mon ceph-osd. The key is ACCESS_KEY and SECRET_KEY, or the defaults below.
# RGW_DNS_NAME is the host whose subdomains are buckets (localhost). With RGW_STS set, its STS gives out session tokens, and the gateway checks them. What is stored
# lives in memory, deleted objects too: start one a suite. With OWNER_PID set, all ends soon after
# that process, however that one ends.
set -eu

access=${ACCESS_KEY:-CREELTESTACCESSKEY00}
secret=${SECRET_KEY:-creel-test-secret-key-of-forty-characters}

usage() {
    sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

alive() {
    [ -f "$dir/$1.pid" ] || return 1
    status=/proc/$(cat "$dir/$1.pid")/status
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "$status" 2>/dev/null) || true
    [ -n "$state" ] && [ "$state" != Z ]
}

end() { # nothing is worth a slow goodbye: the store is in memory
    alive "$1" && kill -KILL "$(cat "$dir/$1.pid")" 2>/dev/null
    while alive "$1"; do
        sleep 0.05
    done
    rm -f "$dir/$1.pid"
}

stop() {
    for part in rgw osd mon; do
        end $part
    done
}

launch() { # NAME PROGRAM ARGUMENTS, in a session of its own: the caller's Ctrl-C is not theirs
    name=$1
    shift
    setsid "$@" >>"$dir/log/$name.out" 2>&1 </dev/null &
    echo $! >"$dir/$name.pid"
}

configure() {
    cat >"$dir/ceph.conf" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon_host = v1:127.0.0.1:$monitor_port
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = $dir/keyring
run_dir = $dir
admin_socket = $dir/\$name.asok
pid_file = $dir/\$name.own-pid
log_file = $dir/log/\$name.log
mon_cluster_log_file = $dir/log/cluster.log
mon_data = $dir/mon
osd_data = $dir/osd
# One copy on one node is all there is, and the disk may be nearly full.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_osd_adjust_heartbeat_grace = false
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_class_dir = $(dirname "$(find /usr/lib -name libcls_rgw.so | head -n 1)")
# Quick to start.
paxos_propose_interval = 0.01
paxos_min_wait = 0.01
rgw_enable_usage_log = false
rgw_dynamic_resharding = false
END
    # Then a wrong key is answered AccessDenied, whatever is wrong with it.
    [ -z "${RGW_STS:-}" ] || cat >>"$dir/ceph.conf" <<END
rgw_s3_auth_use_sts = true
rgw_sts_key = creel-test-sts-k
END
}

monitor() {
    fsid=$(sed -n 's/^fsid = //p' "$dir/ceph.conf")
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$dir/keyring" --gen-key -n client.admin \
        --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$monitor_port]" "$dir/monmap"
    ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
    launch mon ceph-mon -f -i a
}

object_store() { # can lose a race at its first start ("wrong fsid"): started until it is up
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$uuid"
    ceph-osd -i 0 --mkfs --osd-uuid "$uuid"
    for _ in $(seq 10); do
        launch osd ceph-osd -f -i 0
        for _ in $(seq 50); do
            alive osd || break
            ceph osd stat 2>/dev/null | grep -q '1 up' && return 0
            sleep 0.1
        done
    done
    return 1
}

gateway() {
    launch rgw radosgw -f -n client.admin --rgw-dns-name "${RGW_DNS_NAME:-localhost}" \
        --rgw-frontends "beast endpoint=127.0.0.1:$port"
    for _ in $(seq 300); do
        curl -s --noproxy '*' -o /dev/null "http://127.0.0.1:$port/" && guarded rgw && return 0
        alive rgw || return 1
        sleep 0.1
    done
    return 1
}

user() { # the gateway makes its pools while it starts, so the first try may come too early
    for _ in $(seq 20); do
        radosgw-admin user create --uid creel --display-name creel \
            --access-key "$access" --secret-key "$secret" && return 0
        sleep 0.2
    done
    return 1
}

role() { # NAME ISSUER ACTION RESOURCE
    trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRoleWithWebIdentity"],'
    trust="$trust\"Principal\":{\"Federated\":[\"arn:aws:iam:::oidc-provider/$2\"]}}]}"
    may='{"Version":"2012-10-17","Statement":[{"Effect":"Allow",'
    may="$may\"Action\":[\"$3\"],\"Resource\":\"arn:aws:s3:::$4\"}]}"
    {
        radosgw-admin caps add --uid creel --caps "oidc-provider=*;roles=*"
        radosgw-admin role create --role-name "$1" --assume-role-policy-doc "$trust"
        radosgw-admin role-policy put --role-name "$1" --policy-name may --policy-doc "$may"
    } >>"$dir/log/role.out" 2>&1
}

# Here a user owns what it stored and may read it, which no user within an Amazon account may by
# itself: so the policy denies to read, to list and to delete. radosgw-admin cannot set the policies of users.
limited_user() { # NAME ACCESS_KEY SECRET_KEY ACTION RESOURCE...
    name=$1 key=$2 password=$3
    may="{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Action\":"
    may="${may}[\"s3:Get*\",\"s3:List*\",\"s3:Delete*\"],\"Resource\":\"*\"},"
    may="$may{\"Effect\":\"Allow\",\"Action\":[\"$4\"],\"Resource\":["
    shift 4
    for resource in "$@"; do
        may="$may\"arn:aws:s3:::$resource\","
    done
    may="${may%,}]}]}"
    {
        radosgw-admin user create --uid "$name" --display-name "$name" --access-key "$key" --secret-key "$password" \
            --max-buckets=-1
        radosgw-admin caps add --uid creel --caps "user-policy=*"
        curl -sS -f --noproxy '*' --aws-sigv4 aws:amz:us-east-1:iam --user "$access:$secret" \
            -d "Action=PutUserPolicy&Version=2010-05-08&UserName=$name&PolicyName=may" \
            --data-urlencode "PolicyDocument=$may" "http://127.0.0.1:$port/"
    } >>"$dir/log/user.out" 2>&1
}

auditor() { # NAME ACCESS_KEY SECRET_KEY
    radosgw-admin user create --uid "$1" --display-name "$1" --access-key "$2" --secret-key "$3" --admin \
        >>"$dir/log/user.out" 2>&1
}

guard() { # by pid: the owner may have removed the folder by then
    tail --pid="$OWNER_PID" -f /dev/null
    ! tr '\0' ' ' <"/proc/$1/environ" | grep -qF "CEPH_CONF=$dir/" || kill -KILL "$1"
}

guarded() {
    for part in "$@"; do
        [ -z "${OWNER_PID:-}" ] || guard "$(cat "$dir/$part.pid")" >/dev/null 2>&1 </dev/null &
    done
}

start() {
    for program in radosgw radosgw-admin ceph-mon ceph-osd ceph ceph-authtool monmaptool; do
        if ! command -v $program >/dev/null; then
            echo "$program is missing: apt-get install radosgw ceph-mon ceph-osd" >&2
            exit 3
        fi
    done
    stop
    rm -rf "$dir/mon" "$dir/osd" "$dir/log" "$dir/keyring" "$dir/monmap"
    mkdir -p "$dir/mon" "$dir/osd" "$dir/log"
    configure
    if ! { monitor && object_store && gateway && user; } >"$dir/log/start.out" 2>&1; then
        echo "the S3 server did not start on port $port:" >&2
        tail -n 3 "$dir/log/start.out" >&2
        stop
        exit 1
    fi
    guarded osd mon
}

[ $# -ge 2 ] || usage
dir=$(realpath -m "$2")
port=${3:-}
monitor_port=${4:-}
export CEPH_CONF="$dir/ceph.conf"
case $1 in
start) [ -n "$monitor_port" ] || usage; start ;;
pause) end rgw ;;
resume) [ -n "$port" ] || usage; gateway ;;
role) [ -n "$monitor_port" ] || usage; role "$port" "$monitor_port" "${5:-s3:*}" "${6:-*}" ;;
user) [ $# -ge 8 ] || usage; shift 3; limited_user "$@" ;;
auditor) [ $# -eq 5 ] || usage; auditor "$3" "$4" "$5" ;;
stop) stop ;;
*) usage ;;
esac
