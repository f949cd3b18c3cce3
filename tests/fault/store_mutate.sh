#!/bin/sh
# Makes a copy of a source file of the store with one planted fault, for the campaign that must catch it. Fails when the
# place is not found exactly once: then the source has changed, and the fault must be planted anew.
#
#   sh tests/fault/store_mutate.sh MUTANT SOURCE-DIRECTORY OUTPUT
set -eu
mutant=$1 out=$3

case $mutant in
ack_before_sync) # the groups are acknowledged, and made durable afterwards
    file=store/group.c
    was='code = store__stream_sync(&store->streams[stream], err);'
    new='code = 0;'
    was2='    finish_all(store, group);'
    new2='    finish_all(store, group); for (unsigned late = 0; late < STREAM_COUNT; late++) { if (store->streams[late].fd >= 0) { (void)store__stream_sync(\&store->streams[late], NULL); } }'
    ;;
unlink_before_tombstone) # a file goes, and then the log says so
    file=store/retain.c
    was='    return store__forward_forget(store, (unsigned)tier, number, err);'
    new='    char dir[LAYOUT_PATH_MAX]; code = store__stream_remove(\&store->streams[tier], number, err); code = code ? code : fs_sync_dir(store__stream_dir(\&store->layout, (unsigned)tier, dir), err); return code ? code : store__forward_forget(store, (unsigned)tier, number, err);'
    ;;
torn_tail_accepted) # nobody looks whether the payloads of the last group are whole
    file=store/segment.c
    was='tail_verify(scan, from, &tail, err) : 0;'
    new='0 * tail_verify(scan, tail.end, \&tail, err) : 0;'
    ;;
delete_before_receipt) # what is owed leaves as if it were uploaded
    file=store/retain.c
    was='"AND replicated = 1 AND uploaded_utc < ? ORDER BY uploaded_utc LIMIT ?"'
    new='"AND uploaded_utc < ? ORDER BY uploaded_utc LIMIT ?"'
    was2='local = 1 AND owed = 0 AND pinned = 0 "'
    new2='local = 1 AND pinned = 0 "'
    ;;
compacted_before_sync) # the compacted meta log takes the old one's place, and is not on the disk
    file=store/compact.c
    was='code = code ? code : fs_datasync(compact->fd, tmp_path(store, path), err);'
    new='tmp_path(store, path);'
    ;;
words_left_behind) # frames are copied forward, and what was said of them before is not said again
    file=store/forward.c
    was='                                 batch->records, batch->record_count, err);'
    new='                                 NULL, 0, err);'
    ;;
*)
    echo "store_mutate.sh: there is no mutant $mutant" >&2
    exit 2
    ;;
esac

plant() { # IN OUT WAS NEW
    found=$(grep -cF -- "$3" "$1" || true)
    if [ "$found" != 1 ]; then
        echo "store_mutate.sh: $mutant: \"$3\" is $found times in $file, not once" >&2
        exit 1
    fi
    # What is looked for is a plain string: the characters that sed would read are quoted.
    quoted=$(printf '%s' "$3" | sed 's/[][\.*^$|]/\\&/g')
    sed "s|$quoted|$4|" "$1" >"$2"
}

plant "$2/$file" "$out" "$was" "$new"
if [ -n "${was2-}" ]; then
    plant "$out" "$out.2" "$was2" "$new2"
    mv "$out.2" "$out"
fi
