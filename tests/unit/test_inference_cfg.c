/* cfg: every kind of broken network description is refused with file:line and what was expected;
 * the shapes and the exact number of weights of good ones are right. */
#include "daemon/base/mem.h"
#include "inference/cfg.h"
#include "tests/suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NET  "[net]\nwidth=64\nheight=64\nchannels=3\n"
#define CONV "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
#define YOLO                                                                                       \
    "[yolo]\nmask=0,1,2\nanchors=8,8, 16,16, 32,32\nclasses=2\nnum=3\njitter=.3\n"                 \
    "ignore_thresh=.5\ntruth_thresh=1\nrandom=0\n"

static struct cfg_plan plan;
static struct err err;

/* Parses and checks; on success plan is filled. */
static int judge(const char *text, size_t size) {
    struct cfg *cfg = NULL;
    err = (struct err){0};
    int code = cfg_parse(text, size, "x.cfg", &cfg, &err);
    if (code == 0) {
        code = cfg_check(cfg, &plan, &err);
    }
    cfg_destroy(cfg);
    return code;
}

static const struct {
    const char *what, *text, *said; /* said: must be part of the message */
} broken[] = {
    {"empty", "", "no sections"},
    {"only comments", "# nothing\n", "no sections"},
    {"no [net]", CONV YOLO, "x.cfg:1: the first section is [convolutional]"},
    {"no size", "[net]\nbatch=1\n" CONV YOLO, "expected width, height"},
    {"key before section", "width=3\n" NET, "x.cfg:1: \"width\" stands before"},
    {"line without =", NET "[convolutional]\nfilters\n", "x.cfg:6: expected key=value"},
    {"unclosed section", NET "[convolutional\n", "x.cfg:5: expected a section"},
    {"unknown layer in the middle", NET "[transformer]\n" CONV YOLO,
     "x.cfg:5: [transformer] is not"},
    {"unknown last layer", NET CONV "[yolox]\n", "x.cfg:11: [yolox] is not"},
    {"filters do not fit yolo", NET "[convolutional]\nfilters=20\nactivation=linear\n" YOLO,
     "set filters=21"},
    {"route without layers", NET CONV "[route]\n" YOLO, "x.cfg:11: [route] expected layers"},
    {"route ahead", NET CONV "[route]\nlayers=5\n" YOLO, "x.cfg:12: [route] layers names layer 5"},
    {"route too far back", NET CONV "[route]\nlayers=-4\n" YOLO, "names layer -4"},
    {"route of two sizes", NET CONV "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1,-2\n" YOLO,
     "joins 32 x 32 with 64"},
    {"shortcut without from", NET CONV "[shortcut]\nactivation=linear\n" YOLO, "expected from="},
    {"shortcut ahead", NET CONV "[shortcut]\nfrom=9\n" YOLO, "names layer 9"},
    {"shortcut of two shapes",
     NET CONV "[convolutional]\nfilters=8\nactivation=linear\n[shortcut]\nfrom=-2\n" YOLO,
     "expected one shape"},
    {"stride 0", NET "[convolutional]\nfilters=21\nstride=0\n" YOLO,
     "x.cfg:7: [convolutional] stride=0"},
    {"maxpool stride 0", NET "[maxpool]\nstride=0\n" CONV YOLO, "[maxpool] stride=0"},
    {"subdivisions 0", "[net]\nsubdivisions=0\nwidth=64\n", "x.cfg:2: [net] subdivisions=0"},
    {"batch negative", "[net]\nbatch=-1\nwidth=64\n", "[net] batch=-1"},
    {"steps and scales",
     "[net]\nwidth=64\nheight=64\nchannels=3\npolicy=steps\nsteps=1,2\nscales=.1\n" CONV YOLO,
     "2 steps and 1 scales"},
    {"too wide", "[net]\nwidth=160000\nheight=64\nchannels=3\n" CONV YOLO, "[net] width=160000"},
    {"width is text", "[net]\nwidth=wide\n", "width=wide: expected a whole number"},
    {"one channel", "[net]\nwidth=64\nheight=64\nchannels=1\n" CONV YOLO, "only 3 can be run"},
    {"activation", NET "[convolutional]\nfilters=21\nactivation=gelu\n" YOLO,
     "activation=gelu: expected one of"},
    {"mask beyond num", NET CONV "[yolo]\nmask=0,1,7\nanchors=1,1,2,2,3,3\nclasses=2\nnum=3\n",
     "mask has 7; expected 0 to 2"},
    {"mask negative", NET CONV "[yolo]\nmask=0,1,-1\nanchors=1,1,2,2,3,3\nclasses=2\nnum=3\n",
     "mask has -1"},
    {"too few anchors", NET CONV "[yolo]\nmask=0,1,2\nanchors=1,1,2,2\nclasses=2\nnum=3\n",
     "anchors has 4 numbers; num=3 asks for 6"},
    {"no anchors", NET CONV "[yolo]\nmask=0,1,2\nclasses=2\nnum=3\n", "expected anchors"},
    {"anchor 0", NET CONV "[yolo]\nmask=0,1,2\nanchors=1,1,0,2,3,3\nclasses=2\nnum=3\n",
     "the side 0"},
    {"anchors are text", NET CONV "[yolo]\nmask=0,1,2\nanchors=a,b\nclasses=2\nnum=3\n",
     "anchors: expected"},
    {"classes 0", NET CONV "[yolo]\nmask=0,1,2\nanchors=1,1,2,2,3,3\nclasses=0\nnum=3\n",
     "classes=0"},
    {"route groups", NET CONV "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" YOLO,
     "groups=2, group_id=1 of 21 channels"},
    {"route group beyond", NET CONV "[route]\nlayers=-1\ngroups=3\ngroup_id=3\n" YOLO,
     "expected a number that divides them, and 0 to 2"},
    {"new_coords", NET CONV YOLO "new_coords=2\n", "new_coords=2: expected a whole number from 0"},
    {"scale_x_y", NET CONV YOLO "scale_x_y=0\n", "scale_x_y=0; expected above 0"},
    {"scale_x_y is text", NET CONV YOLO "scale_x_y=a\n", "scale_x_y=a: expected a number"},
    {"region without softmax", NET CONV "[region]\nanchors=1,1,2,2,3,3\nclasses=2\nnum=3\n",
     "x.cfg:11: [region] expected softmax=1"},
    {"region without anchors", NET CONV "[region]\nsoftmax=1\nclasses=2\nnum=3\n",
     "[region] expected anchors=<3 pairs>"},
    {"region of a tree",
     NET CONV "[region]\nsoftmax=1\nanchors=1,1,2,2,3,3\nclasses=2\nnum=3\ntree=a\n",
     "[region] tree cannot be run"},
    {"region and yolo of other classes",
     NET CONV YOLO "[route]\nlayers=0\n[region]\nsoftmax=1\nanchors=1,1\nclasses=16\nnum=1\n",
     "classes=16"},
    {"softmax of groups", NET CONV "[avgpool]\n[softmax]\ngroups=3\n", "groups=3: only 1"},
    {"softmax without pooling", NET CONV "[softmax]\n", "over 86016 numbers"},
    {"tags and boxes",
     NET CONV YOLO "[route]\nlayers=0\n[convolutional]\nfilters=2\n[avgpool]\n[softmax]\n",
     "finds boxes or tags"},
    {"two softmax", NET CONV "[avgpool]\n[softmax]\n[softmax]\n", "finds boxes or tags"},
    {"cost in the middle", NET CONV "[avgpool]\n[cost]\n[softmax]\n", "x.cfg:12: [cost] is not"},
    {"reorg does not divide", NET CONV "[reorg]\nstride=2\n" YOLO, "cannot fold 64 x 64 x 21"},
    {"dilation", NET "[convolutional]\nfilters=21\ndilation=2\n" YOLO, "dilation=2: only 1"},
    {"another file", NET CONV YOLO "map=/etc/passwd\n", "map cannot be run"},
    {"weights left out", NET CONV "dontload=1\n" YOLO, "dontload=1: only 0"},
    {"unknown key", NET CONV "wibble=1\n" YOLO, "unknown key \"wibble\""},
    {"groups do not divide", NET "[convolutional]\nfilters=21\ngroups=2\n" YOLO,
     "groups=2 divides"},
    {"kernel larger than image",
     "[net]\nwidth=8\nheight=8\nchannels=3\n"
     "[convolutional]\nfilters=21\nsize=31\nactivation=linear\n" YOLO,
     "size=31 is larger"},
    {"no yolo", NET CONV, "no [yolo], [region] or [softmax] section"},
    {"yolo is not last", NET CONV YOLO CONV, "expected [yolo]"},
    {"two class counts",
     NET CONV YOLO "[route]\nlayers=0\n[convolutional]\nfilters=18\nactivation=linear\n"
                   "[yolo]\nmask=0,1,2\nanchors=1,1,2,2,3,3\nclasses=1\nnum=3\n",
     "classes=1; the [yolo] before has 2"},
    {"memory",
     "[net]\nwidth=4096\nheight=4096\nchannels=3\n"
     "[convolutional]\nfilters=4096\nsize=3\npad=1\nactivation=leaky\n" CONV YOLO,
     "needs more than 4096 MB"},
    {"upsampled without end",
     "[net]\nwidth=4096\nheight=8\nchannels=3\n[upsample]\nstride=16\n" CONV YOLO,
     "would make 65536 x 128"},
};

START_TEST(broken_is_refused) {
    const char *text = broken[_i].text;
    int code = judge(text, strlen(text));
    ck_assert_msg(code == ERR_INVALID, "%s was accepted", broken[_i].what);
    ck_assert_msg(strstr(err.msg, broken[_i].said) != NULL, "%s: \"%s\" lacks \"%s\"",
                  broken[_i].what, err.msg, broken[_i].said);
    ck_assert_ptr_nonnull(strstr(err.msg, "x.cfg"));
}
END_TEST

START_TEST(binary_is_refused) {
    static const char bytes[] = "[net]\nwidth=64\n\x01\x02\x00junk";
    ck_assert_int_eq(judge(bytes, sizeof(bytes)), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "x.cfg:3: not a text file"));
}
END_TEST

START_TEST(too_much_is_refused) {
    char *big = mem_array(CFG_FILE_MAX + 1, 1);
    memset(big, ' ', CFG_FILE_MAX + 1);
    ck_assert_int_eq(judge(big, CFG_FILE_MAX + 1), ERR_INVALID);
    size_t used = (size_t)snprintf(big, CFG_FILE_MAX, "%s", NET);
    for (int i = 0; i < CFG_LAYERS_MAX + 1; i++) {
        used += (size_t)snprintf(big + used, CFG_FILE_MAX - used, "[dropout]\n");
    }
    ck_assert_int_eq(judge(big, used), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, "more than 1024 layers"));
    free(big);
}
END_TEST

/* Cut a good one anywhere: never a crash, and never accepted before the last section is whole. */
START_TEST(any_cut_is_safe) {
    const char *good = NET CONV YOLO;
    for (size_t size = 0; size < strlen(good); size++) {
        int code = judge(good, size);
        ck_assert(code == 0 || code == ERR_INVALID);
        ck_assert(code != 0 || size > strlen(NET CONV));
    }
}
END_TEST

/* Every byte replaced by some others: refused or accepted, never a crash (run under the
 * sanitizers). */
START_TEST(any_change_is_safe) {
    static const char others[] = {'0', '9', '-', '=', '[', ']', '\n', ',', '#', '\x7f', '\0', 'e'};
    char text[] = NET CONV "[route]\nlayers=-1\n[maxpool]\nsize=2\nstride=1\n" YOLO;
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        char was = text[i];
        for (size_t k = 0; k < sizeof(others); k++) {
            text[i] = others[k];
            int code = judge(text, sizeof(text) - 1);
            ck_assert(code == 0 || code == ERR_INVALID);
        }
        text[i] = was;
    }
    ck_assert_int_eq(judge(text, sizeof(text) - 1), 0);
}
END_TEST

START_TEST(shapes_and_weights) {
    static const char text[] =
        "[net] # comment\nbatch=64\nsubdivisions = "
        "8\nwidth=65\nheight=33\nchannels=3\nsteps=1,2\nscales=.1,.1\n"
        "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation="
        "leaky\n"
        "[maxpool]\nsize=2\nstride=2\n"
        "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=5\ngroups=16\npadding=2\nactivation="
        "leaky\n"
        "[shortcut]\nfrom=-2\nactivation=linear\n"
        "[upsample]\nstride=2\n"
        "[route]\nlayers=-1, 4\n"
        "[dropout]\nprobability=.5\n"
        "[conv]\nfilters=14\nactivation=linear ; the end\n"
        "[yolo]\nmask=1,2\nanchors=8,8,16,16,32,32,\nclasses=2\nnum=3\nscale_x_y=1.00\n";
    ck_assert_msg(judge(text, sizeof(text) - 1) == 0, "%s", err.msg);
    static const uint32_t expected[][3] = {{33, 17, 16}, {17, 9, 16},  {17, 9, 16},
                                           {17, 9, 16},  {34, 18, 16}, {34, 18, 32},
                                           {34, 18, 32}, {34, 18, 14}, {34, 18, 14}};
    ck_assert_uint_eq(plan.layer_count, 9);
    for (size_t i = 0; i < plan.layer_count; i++) {
        ck_assert_msg(plan.layers[i].width == expected[i][0] &&
                          plan.layers[i].height == expected[i][1] &&
                          plan.layers[i].channels == expected[i][2],
                      "layer %zu is %u x %u x %u", i, plan.layers[i].width, plan.layers[i].height,
                      plan.layers[i].channels);
    }
    /* 16*3*9 + 4*16, 16*1*25 + 4*16, 14*32 + 14 */
    ck_assert_uint_eq(plan.weights, 496 + 464 + 462);
    ck_assert_uint_eq(plan.class_count, 2);
    ck_assert_uint_eq(plan.head_count, 1);
}
END_TEST

/* Heads as the four generations have them. */
START_TEST(heads) {
    static const char v7[] = NET CONV YOLO "scale_x_y=2.0\nnew_coords=1\n";
    ck_assert_msg(judge(v7, sizeof(v7) - 1) == 0, "%s", err.msg);
    const struct boxes_head *head = &plan.heads[0];
    ck_assert(head->kind == BOXES_YOLO_READY && head->layer == 0 && head->anchor_count == 3);
    ck_assert(head->scale == 2 && head->anchors[2][1] == 32 && head->grid_width == 64);
    static const char v4[] =
        NET CONV "[yolo]\nmask=2,0\nanchors=8,8,16,16,32,31\nclasses=2\nnum=3\n";
    ck_assert_int_eq(judge(v4, sizeof(v4) - 1), ERR_INVALID); /* 14 channels */
    static const char v3[] =
        NET "[conv]\nfilters=14\n[yolo]\nmask=2,0\nanchors=8,8,16,16,32,31\nclasses=2\nnum=3\n"
            "scale_x_y=1.05\n[route]\nlayers=0\n[yolo]\nmask=1,2\nanchors=8,8,16,16,32,31\n"
            "classes=2\nnum=3\n";
    ck_assert_msg(judge(v3, sizeof(v3) - 1) == 0, "%s", err.msg);
    ck_assert_uint_eq(plan.head_count, 2);
    ck_assert(head->kind == BOXES_YOLO && head->anchors[0][1] == 31 && head->anchors[1][0] == 8);
    ck_assert(head->scale == 1.05f && plan.heads[1].scale == 1 && plan.heads[1].layer == 2);
    static const char v2[] = NET CONV "[maxpool]\nsize=2\nstride=2\n[region]\nsoftmax=1\nnum=3\n"
                                      "anchors=1,2,3.5,4,5,6\nclasses=2\ncoords=4\nrescore=1\n";
    ck_assert_msg(judge(v2, sizeof(v2) - 1) == 0, "%s", err.msg);
    ck_assert(head->kind == BOXES_REGION && head->layer == 1 && head->grid_height == 32);
    ck_assert(head->anchors[1][0] == 7 && head->anchors[0][1] == 4); /* in pixels */
}
END_TEST

START_TEST(classifiers) {
    static const char text[] = NET CONV "[reorg]\nstride=1\n[avgpool]\n[softmax]\ngroups=1\n"
                                        "[cost]\ntype=sse\n";
    ck_assert_msg(judge(text, sizeof(text) - 1) == 0, "%s", err.msg);
    ck_assert_uint_eq(plan.class_count, 21);
    ck_assert_uint_eq(plan.layer_count, 4); /* [cost] is left out */
    ck_assert(plan.heads[0].kind == BOXES_TAGS && plan.heads[0].layer == 3);
    ck_assert_uint_eq(boxes_head_values(&plan.heads[0]), 21);
    struct cfg *cfg = NULL;
    struct buf out = BUF_INIT(4096);
    ck_assert_int_eq(cfg_parse(text, sizeof(text) - 1, "x.cfg", &cfg, &err), 0);
    cfg_write(cfg, &out);
    ck_assert_ptr_null(strstr(out.data, "cost"));
    buf_finish(&out);
    cfg_destroy(cfg);
}
END_TEST

/* Accepted, with the reason why one of the libraries must not have it. */
START_TEST(what_one_backend_computes_wrongly) {
    static const struct {
        const char *text, *pjreddie;
    } cases[] = {
        {NET CONV YOLO, ""},
        {NET CONV YOLO "scale_x_y=1.05\n", ""}, /* decoded by us */
        {NET CONV "[route]\nlayers=-1\ngroups=1\ngroup_id=0\n" YOLO, ""},
        {NET "[convolutional]\nfilters=42\n[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" YOLO,
         "x.cfg:9: [route] groups=2: pjreddie's Darknet ignores it"},
        {NET "[convolutional]\nfilters=4\nactivation=mish\n" CONV YOLO,
         "x.cfg:7: [convolutional] activation=mish: pjreddie's"},
        {NET CONV "[shortcut]\nfrom=-1\nactivation=swish\n" YOLO, "[shortcut] activation=swish"},
    };
    ck_assert_msg(judge(cases[_i].text, strlen(cases[_i].text)) == 0, "%s", err.msg);
    const char *why = plan.refusals.why[BACKEND_PJREDDIE];
    ck_assert_msg(strstr(why, cases[_i].pjreddie) != NULL, "\"%s\" lacks \"%s\"", why,
                  cases[_i].pjreddie);
    ck_assert_int_eq(why[0] == '\0', cases[_i].pjreddie[0] == '\0');
    ck_assert_str_eq(plan.refusals.why[BACKEND_ALEXEYAB], "");
}
END_TEST

START_TEST(clean_copy_has_one_image_and_no_training) {
    static const char text[] =
        "[network]\nbatch=64\nwidth=64\nheight=64\nchannels=3\npolicy=steps\nsteps=1\n"
        "scales=.1\n" CONV YOLO;
    struct cfg *cfg = NULL;
    struct buf out = BUF_INIT(4096);
    ck_assert_int_eq(cfg_parse(text, sizeof(text) - 1, "x.cfg", &cfg, &err), 0);
    cfg_write(cfg, &out);
    ck_assert_str_eq(out.data,
                     "[net]\nbatch=1\nsubdivisions=1\nwidth=64\nheight=64\nchannels=3\n"
                     "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
                     "[yolo]\nmask=0,1,2\nanchors=8,8,16,16,32,32\nclasses=2\nnum=3\n");
    ck_assert_int_eq(judge(out.data, out.len), 0);
    buf_finish(&out);
    cfg_destroy(cfg);
}
END_TEST

START_TEST(memory_runs_out) {
    static const char text[] = NET CONV YOLO;
    int code = ERR_NOMEM;
    for (long calls = 0; code != 0 && calls < 1000; calls++) {
        struct cfg *cfg = NULL;
        mem_fail_after(calls);
        code = cfg_parse(text, sizeof(text) - 1, "x.cfg", &cfg, &err);
        mem_fail_after(-1);
        ck_assert(code == 0 || (code == ERR_NOMEM && cfg == NULL));
        cfg_destroy(cfg);
    }
    ck_assert_int_eq(code, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("inference_cfg");
    TCase *tests = tcase_create("cfg");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, broken_is_refused, 0, (int)(sizeof(broken) / sizeof(broken[0])));
    tcase_add_test(tests, binary_is_refused);
    tcase_add_test(tests, too_much_is_refused);
    tcase_add_test(tests, any_cut_is_safe);
    tcase_add_test(tests, any_change_is_safe);
    tcase_add_test(tests, shapes_and_weights);
    tcase_add_test(tests, heads);
    tcase_add_test(tests, classifiers);
    tcase_add_loop_test(tests, what_one_backend_computes_wrongly, 0, 6);
    tcase_add_test(tests, clean_copy_has_one_image_and_no_training);
    tcase_add_test(tests, memory_runs_out);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
