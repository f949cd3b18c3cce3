/* suite: how every Check suite of ours is run: all of it, names of what failed, 1 when anything
 * did. */
#ifndef CREEL_TESTS_SUITE_H
#define CREEL_TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

static inline int suite_run(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
