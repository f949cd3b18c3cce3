#!/bin/sh
# Makes a copy of a source file of the sync with one planted fault, for the matrix of faults that must catch it. Fails when
# the place is not found exactly once: then the source has changed, and the fault must be planted anew.
#
#   sh tests/fault/sync_mutate.sh MUTANT SOURCE-DIRECTORY OUTPUT
set -eu
mutant=$1 out=$3

case $mutant in
receipt_before_reply) # the store hears of a receipt when the request goes out
    file=sync/lane.c
    was='    if (sync__http_start(lane->sync->http, &request, job, &job->err) != 0) {'
    new='    struct store_receipt early = {.blob = job->row.blob, .tier = job->row.tier, .kind = STORE_RECEIPT_STORED, .utc_us = clock_utc_us()};'
    new="$new memcpy(early.remote, remote->name, sizeof early.remote); memcpy(early.key, job->key, sizeof early.key);"
    new="$new (void)store_receipt_put(lane->sync->store, \\&early, 1, NULL);"
    new="$new if (sync__http_start(lane->sync->http, \\&request, job, \\&job->err) != 0) {"
    ;;
key_made_anew) # each attempt has a name of its own: the date in it is of the attempt
    file=sync/lane.c
    was='    int code = sync_key_format(sync->config.device, &job->row, job->key, &job->err);'
    new='    job->row.kept_utc_us -= (int64_t)(sync__random() % 300) * 86400 * 1000000; int code = sync_key_format(sync->config.device, \&job->row, job->key, \&job->err);'
    ;;
checksum_not_compared) # Azure: created is enough, whatever checksum comes with it
    file=sync/azure_judge.c
    was='        if (confirms(put->object, reply)) {'
    new='        if (confirms(put->object, reply) || reply->status == 201) {'
    ;;
etag_not_compared) # S3: any ETag will do
    file=sync/s3_judge.c
    was='        if (confirmed || '
    new='        if (checksum[0] != 0 || '
    ;;
*)
    echo "sync_mutate.sh: there is no mutant $mutant" >&2
    exit 2
    ;;
esac

found=$(grep -cF -- "$was" "$2/$file" || true)
if [ "$found" != 1 ]; then
    echo "sync_mutate.sh: $mutant: \"$was\" is $found times in $file, not once" >&2
    exit 1
fi
# What is looked for is a plain string: the characters that sed would read are quoted.
quoted=$(printf '%s' "$was" | sed 's/[][\.*^$|]/\\&/g')
sed "s|$quoted|$(printf '%s' "$new" | sed 's/|/\\|/g')|" "$2/$file" >"$out"
