/* triage_track: objects over the last frames of a camera, for the rule "flicker".
 *
 * A model that sees a thing in one frame, not in the next, and again in the third was wrong in the
 * middle: that frame teaches. What is followed are boxes of sure detections; a detection belongs to
 * the track whose last box it covers most (IoU of TRACK_IOU or more), the most confident detections
 * first. Nothing is predicted: at the rates of these cameras a thing either stays about where it is
 * or is another one.
 *
 * Invariants:
 *  1. A track begins with a sure detection and counts only sure ones as hits. Any detection from
 * the floor up on its box, of whatever class, says that something is there: no comeback then, the
 *     rules "unsure" and "disagreement" are for that.
 *  2. An object is back when it was there in HITS_MIN frames or more, then missing in 1 to
 *     TRIAGE__GAP_MAX, and is now there again with its class.
 *  3. At most TRIAGE__TRACKS_MAX tracks; when there is no room, a new object is not followed.
 * Rejected: a motion model (Kalman) and assignment by cost (Hungarian): they pay with crowds and
 * crossings at video rate, and here would only move the middle frame that is picked.
 */
#include "inference/triage_parts.h"

#include <string.h>

#define TRACK_IOU 0.3
#define HITS_MIN  2
#define SEEN_MAX  64 /* detections of a frame that are looked at, the most confident ones */

/* The track that the box covers most, of those not yet found in this frame. */
static struct triage__track *track_of(struct triage__tracks *tracks, const bool *found,
                                      const struct frame_box *box, double *iou) {
    struct triage__track *best = NULL;
    *iou = TRACK_IOU;
    for (size_t i = 0; i < tracks->count; i++) {
        double here = found[i] ? 0 : triage__iou(&tracks->items[i].box, box);
        if (here >= *iou) {
            *iou = here;
            best = &tracks->items[i];
        }
    }
    return best;
}

static void track_begin(struct triage__tracks *tracks, bool *found,
                        const struct frame_detection *detection) {
    if (tracks->count == TRIAGE__TRACKS_MAX) {
        return;
    }
    found[tracks->count] = true;
    struct triage__track *track = &tracks->items[tracks->count++];
    *track = (struct triage__track){.box = detection->box,
                                    .class_index = detection->class_index,
                                    .confidence = detection->confidence,
                                    .hits = 1};
    memcpy(track->label, detection->label, sizeof(track->label));
    track->label[FRAME_LABEL_MAX] = '\0';
}

/* The track's object is in this frame. True: it was missing before. */
static bool track_meet(struct triage__track *track, const struct frame_detection *detection,
                       bool sure, double iou, struct triage__comeback *out) {
    bool same = sure && detection->class_index == track->class_index;
    bool back = same && track->missed > 0 && track->hits >= HITS_MIN;
    if (back) {
        *out = (struct triage__comeback){
            .was = *track, .confidence = detection->confidence, .iou = iou};
    }
    track->missed = 0;
    if (same) {
        track->box = detection->box;
        track->confidence = detection->confidence;
        track->hits++;
    }
    return back;
}

/* What was not found is missing; what has been for too long is forgotten. */
static void tracks_miss(struct triage__tracks *tracks, const bool *found, int64_t boot_us) {
    size_t kept = 0;
    for (size_t i = 0; i < tracks->count; i++) {
        struct triage__track *track = &tracks->items[i];
        if (!found[i]) {
            track->missed_us = track->missed ? track->missed_us : boot_us;
            track->missed++;
        }
        if (track->missed <= TRIAGE__GAP_MAX) {
            tracks->items[kept++] = *track;
        }
    }
    tracks->count = kept;
}

size_t triage__tracks_learn(struct triage__tracks *tracks, const struct triage_config *config,
                            const struct frame_record *record, struct triage__comeback *out,
                            size_t room) {
    bool found[TRIAGE__TRACKS_MAX] = {false};
    size_t count = 0;
    if (record->captured.boot_us <= tracks->last_us && tracks->count) {
        return 0; /* of another worker, late: its place in the order is gone */
    }
    tracks->last_us = record->captured.boot_us;
    for (size_t i = 0; i < record->detection_count && i < SEEN_MAX; i++) {
        const struct frame_detection *detection = &record->detections[i];
        bool sure = detection->confidence >= (float)config->confident;
        double iou;
        if (!(detection->confidence >= (float)config->uncertain_floor)) {
            continue;
        }
        struct triage__track *track = track_of(tracks, found, &detection->box, &iou);
        struct triage__comeback back;
        if (track) {
            found[track - tracks->items] = true;
            if (track_meet(track, detection, sure, iou, &back) && count < room) {
                out[count++] = back;
            }
        } else if (sure) {
            track_begin(tracks, found, detection);
        }
    }
    tracks_miss(tracks, found, record->captured.boot_us);
    return count;
}
