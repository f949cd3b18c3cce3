/* state: the statements of state.db, for the files that keep something in it. Hold state_lock. */
#ifndef CREEL_STORE_STATE_H
#define CREEL_STORE_STATE_H

enum state_statement {
    STATE_GET,
    STATE_PUT,
    STATE_DROP,
    STATE_LIST,
    STATE_CHECK,
    STATE_TALLY_ADD,
    STATE_TALLY_GET,
    STATE_TALLY_DROP,
    STATE_STATEMENTS,
};

#endif
