/* Who is ended for being slow, and who makes room for others. */
#include "tests/suite.h"
#include "webui/watch.h"
#include <check.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 6

static struct webui__watches watches;
static struct webui__watch *all[MANY];
static int ours[MANY], theirs[MANY];

static void enter(int i) {
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ours[i] = pair[0];
    theirs[i] = pair[1];
    all[i] = webui__watch_enter(&watches, ours[i]);
    ck_assert_ptr_nonnull(all[i]);
}

static void leave(int i) {
    webui__watch_leave(&watches, all[i]);
    close(ours[i]);
    close(theirs[i]);
}

static bool ended(int i) {
    char byte;
    return recv(theirs[i], &byte, 1, MSG_DONTWAIT) == 0;
}

/* One letter a connection: which of them are ended. */
static void ends(const char *expected) {
    for (int i = 0; expected[i]; i++) {
        ck_assert_msg(ended(i) == (expected[i] == 'x'), "connection %d, expected %s", i, expected);
    }
}

START_TEST(the_longest_there_makes_room) {
    webui__watches_init(&watches, 3, 60);
    for (int i = 0; i < 3; i++) {
        enter(i);
    }
    ends("...");
    webui__watch_move(&watches, all[0], WATCH_TOLD);
    enter(3);
    ends(".x..");
    webui__watch_move(&watches, all[0], WATCH_HEAD); /* answered: now the last in the row */
    enter(4);
    ends(".xx..");
    webui__watch_move(&watches, all[1], WATCH_BODY); /* what is ended comes back to no row */
    enter(5);
    ends(".xxx..");
    ck_assert_uint_eq(atomic_load(&watches.pushed_out), 3);
    ck_assert_uint_eq(watches.count, MANY);
    for (int i = 0; i < MANY; i++) {
        leave(i);
    }
    ck_assert_uint_eq(watches.count, 0);
    webui__watches_finish(&watches);
}
END_TEST

/* Whoever sends a body goes after those that have sent no head, and who waits for an answer never.
 */
START_TEST(those_who_work_stay) {
    webui__watches_init(&watches, 3, 60);
    for (int i = 0; i < 3; i++) {
        enter(i);
    }
    webui__watch_move(&watches, all[0], WATCH_BODY);
    webui__watch_move(&watches, all[1], WATCH_BODY);
    webui__watch_move(&watches, all[1], WATCH_TOLD);
    enter(3);
    ends("..x.");
    webui__watch_move(&watches, all[3], WATCH_TOLD);
    enter(4);
    ends("x.x..");
    webui__watch_move(&watches, all[4], WATCH_TOLD);
    enter(5);
    ends("x.x...");
    for (int i = MANY - 1; i >= 0; i--) {
        leave(i);
    }
    webui__watches_finish(&watches);
}
END_TEST

/* Those who only announce bodies push each other out, and nobody who comes meanwhile. */
START_TEST(a_crowd_ends_its_own) {
    webui__watches_init(&watches, 3, 60);
    for (int i = 0; i < 3; i++) {
        enter(i);
        webui__watch_move(&watches, all[i], WATCH_BODY);
    }
    enter(3);
    ends("x...");
    enter(4);
    ends("xx...");
    enter(5); /* now more of them have sent no head */
    ends("xx.x..");
    for (int i = 0; i < MANY; i++) {
        leave(i);
    }
    ck_assert_uint_eq(watches.waiting[WATCH_HEAD] + watches.waiting[WATCH_BODY], 0);
    webui__watches_finish(&watches);
}
END_TEST

START_TEST(deadlines) {
    webui__watches_init(&watches, MANY, 0); /* each passes at once */
    for (int i = 0; i < 4; i++) {
        enter(i);
    }
    webui__watch_move(&watches, all[1], WATCH_BODY);
    webui__watch_move(&watches, all[2], WATCH_TOLD);
    usleep(2000);
    webui__watches_sweep(&watches);
    ends("xx.x");
    ck_assert_uint_eq(atomic_load(&watches.cut), 3);
    webui__watches_sweep(&watches);
    ck_assert_uint_eq(atomic_load(&watches.cut), 3);
    for (int i = 0; i < 4; i++) {
        leave(i);
    }
    webui__watches_finish(&watches);
}
END_TEST

START_TEST(patient_ones) {
    webui__watches_init(&watches, MANY, 1);
    enter(0);
    enter(1);
    webui__watch_move(&watches, all[1], WATCH_BODY);
    webui__watches_sweep(&watches);
    ends("..");
    usleep(2100000);
    webui__watches_sweep(&watches);
    ends("x."); /* a body has longer */
    leave(0);
    leave(1);
    webui__watch_leave(&watches, NULL);
    webui__watch_move(&watches, NULL, WATCH_BODY);
    webui__watches_finish(&watches);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("webui watch");
    TCase *tcase = tcase_create("watch");
    tcase_add_test(tcase, the_longest_there_makes_room);
    tcase_add_test(tcase, those_who_work_stay);
    tcase_add_test(tcase, a_crowd_ends_its_own);
    tcase_add_test(tcase, deadlines);
    tcase_add_test(tcase, patient_ones);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
