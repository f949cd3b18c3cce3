/* label: what a person says of a frame (right, wrong, wanted for labeling), the last word of all.
 *
 * On the writer thread between groups, with the index where the log is, so that no word is taken
 * for a frame that is not there. It outlives the frame's blob: a record of the meta log.
 */
#include "store/retain.h"

struct word {
    const struct frame_id *id;
    const struct store_label *label;
};

static int label_run(struct store *store, void *arg, struct err *err) {
    const struct word *word = arg;
    struct record record = {.kind = RECORD_LABEL, .label = {*word->id, *word->label}};
    int64_t tier = 0;
    int code = store__retain_ready(store, RETAIN_WAIT_MS, err);
    code = code ? code
                : store__db_number(&store->writer.lookup, LOOKUP_FRAME, &tier, err, "b",
                                   word->id->bytes, sizeof(word->id->bytes));
    if (code == ERR_NOT_FOUND) {
        return err_set(err, code, "there is no such frame in the store");
    }
    return code ? code : store__retain_bury(store, &record, 1, err);
}

int store_label_put(struct store *store, const struct frame_id *id, const struct store_label *label,
                    struct err *err) {
    struct word word = {id, label};
    if ((unsigned)label->state >= STORE_LABEL_STATES) {
        return err_set(err, ERR_INVALID, "there is no label state %u", (unsigned)label->state);
    }
    return store__writer_call(store, label_run, &word, err);
}
