/* Copies files forward that the rules of retention would leave alone, so that it happens often.
 */
#ifndef CREEL_TESTS_STORE_TIDY_H
#define CREEL_TESTS_STORE_TIDY_H

#include "store/retain.h"

static inline int tidy_oldest_run(struct store *tidied, void *arg, struct err *err) {
    const struct stream *stream = &tidied->streams[*(const enum frame_tier *)arg];
    bool more = true;
    if (stream->count < 2 || tidied->forward.running) {
        return 0;
    }
    tidied->forward.survey.best[FORWARD_AGE] =
        (struct forward_file){.number = stream->segments[0].number, .tier = (int)stream->id};
    int code = store__retain_ready(tidied, RETAIN_WAIT_MS, err);
    code = code ? code : store__forward_pick(tidied, FORWARD_AGE, true, err);
    while (!code && tidied->forward.running) {
        code = store__forward_step(tidied, RETAIN_WAIT_MS, err);
    }
    return code ? code : store__retain_slice(tidied, &more, err); /* the file goes */
}

/* All that is left in the tier's oldest file, unless that is the open one. */
static inline int tidy_oldest(struct store *tidied, enum frame_tier tier, struct err *err) {
    return store__writer_call(tidied, tidy_oldest_run, &tier, err);
}

#endif
