/* Triage: what a frame's way through the rules is.
 *
 * Goal: the same frames in the same order give the same verdicts, whatever the machine.
 *
 * The camera's state is found (and its page turned to the date), its objects are followed, and the
 * rules are asked in the configured order; the first that matches and has budget left wins. A frame
 * may also be wanted for what another one showed: the frames around one that a rule keeps
 * (`before`, `after`), around a moment that somebody named (trigger), or the one in which an object
 * was missing (flicker). Later ones come by and match; earlier ones are named as rescues, and the
 * caller asks again for those that it still has.
 *
 * Invariants:
 *  1. At most TRIAGE_CAMERAS_MAX cameras; the one not seen for longest makes room (what is counted
 *     of it is saved first).
 *  2. A frame that is kept for its neighbour begins no event of its own.
 *  3. Without memory for tracks or prints, flicker and novelty keep nothing; the rest goes on.
 */
#include "inference/triage_parts.h"

#include "daemon/base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FLOOR_DEFAULT 0.15
#define TRIGGER_VALUE 0.90

/* ---- cameras ---- */

static void camera_save(struct triage *triage, struct triage__camera *camera) {
    triage__budget_save_camera(triage, camera);
    if (camera->gallery) {
        triage__gallery_save(camera->gallery, &triage->memory, camera->name, true);
    }
}

static struct triage__camera *camera_make_room(struct triage *triage) {
    if (triage->camera_count < TRIAGE_CAMERAS_MAX) {
        return &triage->cameras[triage->camera_count++];
    }
    struct triage__camera *oldest = &triage->cameras[0];
    for (size_t i = 1; i < triage->camera_count; i++) {
        if (triage->cameras[i].seen < oldest->seen) {
            oldest = &triage->cameras[i];
        }
    }
    camera_save(triage, oldest);
    free(oldest->tracks);
    free(oldest->gallery);
    return oldest;
}

static struct triage__camera *camera_find(struct triage *triage, const char *name) {
    for (size_t i = 0; i < triage->camera_count; i++) {
        if (strcmp(triage->cameras[i].name, name) == 0) {
            return &triage->cameras[i];
        }
    }
    struct triage__camera *camera = camera_make_room(triage);
    *camera = (struct triage__camera){0};
    memcpy(camera->name, name, strlen(name) + 1);
    camera->tracks = triage->tracks ? mem_alloc(sizeof(*camera->tracks)) : NULL;
    camera->gallery = triage->prints ? mem_alloc(sizeof(*camera->gallery)) : NULL;
    if (camera->gallery) {
        triage__gallery_load(camera->gallery, &triage->memory, name);
    }
    return camera;
}

static struct triage__camera *camera_enter(struct triage *triage, const char *name,
                                           int64_t utc_us) {
    struct triage__camera *camera = camera_find(triage, name);
    camera->seen = ++triage->turn;
    triage__budget_turn_page(triage, camera, utc_us);
    return camera;
}

/* ---- one frame and one rule ---- */

static void scene_set(const struct triage *triage, struct triage__camera *camera, unsigned number,
                      const struct frame_record *record, struct triage__scene *out) {
    *out = (struct triage__scene){.config = &triage->config,
                                  .rule = &triage->rules[number],
                                  .number = number,
                                  .camera = camera,
                                  .record = record};
    triage__look_at(&triage->config, out->rule, camera, record, &out->look);
}

static enum frame_tier tier_of(const struct triage__scene *scene) {
    const struct triage__look *look = &scene->look;
    enum frame_tier seen =
        look->counted > 0 && look->unsure == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
    return scene->rule->tier == TIER_NONE ? seen : scene->rule->tier;
}

static void verdict_name(struct triage_verdict *out, const struct triage__rule *rule,
                         double value) {
    memcpy(out->rule, rule->set.name, sizeof(out->rule));
    out->value = fmin(fmax(value, 0), 1);
}

/* Keeps the frame for the rule if that can pay. */
static bool keep(struct triage *triage, const struct triage__scene *scene, double value, bool event,
                 struct triage_verdict *out) {
    struct triage__camera *camera = &triage->cameras[scene->camera - triage->cameras];
    const struct frame_record *record = scene->record;
    struct triage__bill bill = {.rule = scene->rule,
                                .number = scene->number,
                                .camera = camera,
                                .tier = tier_of(scene),
                                .class_index = scene->look.best_class,
                                .id = &record->id,
                                .value = fmin(fmax(value, 0), 1),
                                .boot_us = record->captured.boot_us,
                                .utc_us = record->captured.utc_us,
                                .event = event};
    struct triage__room room = triage__budget_room(triage, &bill);
    bool left = room.free || room.displaces;
    if (left || !out->over_budget) { /* without budget, the first that matched is named */
        verdict_name(out, scene->rule, value);
    }
    out->over_budget = !left;
    if (!left) {
        return false;
    }
    out->keep = true;
    out->tier = bill.tier;
    out->displaces = room.displaces;
    out->displaced = room.displaced;
    out->due_boot_us = triage__budget_take(triage, &bill, &room);
    if (camera->gallery) {
        struct triage__print print;
        triage__print_make(record, (float)triage->config.uncertain_floor, &print);
        triage__gallery_add(camera->gallery, &print, &record->id,
                            out->displaces ? &out->displaced : NULL);
        triage__gallery_save(camera->gallery, &triage->memory, camera->name, false);
    }
    return true;
}

/* ---- events: the neighbours of a frame ---- */

static void rescue_add(struct triage_verdict *out, const struct triage_rescue *rescue) {
    if (out->rescue_count < TRIAGE_RESCUES_MAX) {
        out->rescues[out->rescue_count++] = *rescue;
    }
}

/* A frame that is near in time to one of `value`, within `span_us`. */
static double faded(double value, int64_t distance_us, int64_t span_us) {
    double share = span_us > 0 ? fmin(fabs((double)distance_us) / (double)span_us, 1) : 0;
    return value * (1 - 0.5 * share);
}

static void event_begin(struct triage *triage, struct triage__camera *camera, unsigned number,
                        int64_t boot_us, double value, struct triage_verdict *out) {
    const struct triage_rule_config *set = &triage->rules[number].set;
    struct triage__event event = {.any = set->before_ms > 0 || set->after_ms > 0,
                                  .from_us = boot_us - set->before_ms * 1000,
                                  .at_us = boot_us,
                                  .until_us = boot_us + set->after_ms * 1000,
                                  .value = value};
    camera->events[number] = event;
    if (set->before_ms > 0) {
        rescue_add(out, &(struct triage_rescue){.rule = number,
                                                .from_us = event.from_us,
                                                .to_us = boot_us,
                                                .value = value,
                                                .event = true});
    }
}

static bool event_wants(const struct triage__scene *scene, double *value) {
    const struct triage__event *event = &scene->camera->events[scene->number];
    int64_t boot_us = scene->record->captured.boot_us;
    if (!event->any || boot_us < event->from_us || boot_us > event->until_us) {
        return false;
    }
    int64_t end_us = boot_us < event->at_us ? event->from_us : event->until_us;
    *value = faded(event->value, boot_us - event->at_us, llabs(end_us - event->at_us));
    return true;
}

/* ---- flicker ---- */

static void rescue_flicker(const struct triage *triage, unsigned number,
                           const struct triage__comeback *backs, size_t count,
                           struct triage_verdict *out) {
    const struct triage__rule *rule = &triage->rules[number];
    for (size_t i = 0; i < count; i++) {
        const struct triage__comeback *back = &backs[i];
        if (back->was.missed <= rule->set.gap && back->iou >= rule->set.iou &&
            triage__rule_sees(rule, back->was.label)) {
            rescue_add(
                out,
                &(struct triage_rescue){
                    .rule = number,
                    .from_us = back->was.missed_us,
                    .to_us = back->was.missed_us,
                    .value = 0.60 + 0.30 * fmin(fmin(back->was.confidence, back->confidence), 1)});
            return;
        }
    }
}

static void follow(struct triage *triage, struct triage__camera *camera,
                   const struct frame_record *record, struct triage_verdict *out) {
    struct triage__comeback backs[TRIAGE_RESCUES_MAX];
    if (!camera->tracks) {
        return;
    }
    size_t count =
        triage__tracks_learn(camera->tracks, &triage->config, record, backs, TRIAGE_RESCUES_MAX);
    for (unsigned i = 0; count && i < triage->rule_count; i++) {
        if (triage->rules[i].set.kind == TRIAGE_FLICKER &&
            triage__rule_applies(&triage->rules[i], camera->name, record->captured.utc_us)) {
            rescue_flicker(triage, i, backs, count, out);
        }
    }
}

/* ---- deciding ---- */

/* True: the rule keeps the frame. */
static bool ask(struct triage *triage, struct triage__camera *camera, unsigned number,
                const struct frame_record *record, struct triage_verdict *out) {
    struct triage__scene scene;
    double value = 0;
    if (!triage__rule_applies(&triage->rules[number], camera->name, record->captured.utc_us)) {
        return false;
    }
    scene_set(triage, camera, number, record, &scene);
    bool neighbour = event_wants(&scene, &value);
    if ((!neighbour && !scene.rule->match(&scene, &value)) ||
        !keep(triage, &scene, value, neighbour, out)) {
        return false;
    }
    if (scene.rule->set.kind == TRIAGE_SCHEDULE) {
        camera->slots[number] = record->captured.utc_us / 1000 / scene.rule->set.every_ms + 1;
    }
    if (!neighbour) {
        event_begin(triage, camera, number, record->captured.boot_us, value, out);
    }
    return true;
}

void triage_decide(struct triage *triage, const struct frame_record *record,
                   struct triage_verdict *out) {
    struct triage__camera *camera = camera_enter(triage, record->camera, record->captured.utc_us);
    *out = (struct triage_verdict){.tier = TIER_NONE};
    follow(triage, camera, record, out);
    for (unsigned i = 0; i < triage->rule_count && !out->keep; i++) {
        ask(triage, camera, i, record, out);
    }
    triage__classes_learn(camera, &triage->config, record);
}

void triage_rescue(struct triage *triage, const struct triage_rescue *rescue,
                   const struct frame_record *record, struct triage_verdict *out) {
    struct triage__camera *camera = camera_enter(triage, record->camera, record->captured.utc_us);
    struct triage__scene scene;
    int64_t boot_us = record->captured.boot_us;
    double value = rescue->event ? faded(rescue->value, rescue->to_us - boot_us,
                                         rescue->to_us - rescue->from_us)
                                 : rescue->value;
    *out = (struct triage_verdict){.tier = TIER_NONE};
    if (rescue->rule < triage->rule_count && boot_us >= rescue->from_us &&
        boot_us <= rescue->to_us) {
        scene_set(triage, camera, rescue->rule, record, &scene);
        keep(triage, &scene, value, rescue->event, out);
    }
}

int triage_trigger(struct triage *triage, const char *camera, int64_t boot_us, int64_t utc_us,
                   struct triage_verdict *out, struct err *err) {
    bool any = false;
    *out = (struct triage_verdict){.tier = TIER_NONE};
    for (unsigned i = 0; i < triage->rule_count; i++) {
        const struct triage__rule *rule = &triage->rules[i];
        if (rule->set.kind == TRIAGE_TRIGGER && triage__rule_applies(rule, camera, utc_us)) {
            event_begin(triage, camera_enter(triage, camera, utc_us), i, boot_us, TRIGGER_VALUE,
                        out);
            any = true;
        }
    }
    return any ? 0
               : err_set(err, ERR_NOT_FOUND,
                         "no rule of kind trigger looks at camera %s now (triage.rules)", camera);
}

int64_t triage_reach_ms(const struct triage *triage, unsigned *frames) {
    int64_t reach_ms = 0;
    *frames = 0;
    for (size_t i = 0; i < triage->rule_count; i++) {
        const struct triage_rule_config *set = &triage->rules[i].set;
        reach_ms = set->before_ms > reach_ms ? set->before_ms : reach_ms;
        if (set->kind == TRIAGE_FLICKER && set->gap > *frames) {
            *frames = set->gap;
        }
    }
    return reach_ms;
}

/* ---- life cycle ---- */

static bool is_fraction(double value) {
    return value >= 0 && value <= 1;
}

static int check_config(const struct triage_config *config, struct err *err) {
    if (!(config->confident > 0 && config->confident < 1)) {
        return err_set(err, ERR_CONFIG, "triage.confident is %g: it lies between 0 and 1",
                       config->confident);
    }
    if (!(config->uncertain_floor > 0 && config->uncertain_floor < config->confident)) {
        return err_set(err, ERR_CONFIG,
                       "triage.uncertain_floor is %g: it lies between 0 and triage.confident (%g)",
                       config->uncertain_floor, config->confident);
    }
    if (!is_fraction(config->empty_fraction)) {
        return err_set(err, ERR_CONFIG, "triage.empty_fraction is %g: it lies from 0 to 1",
                       config->empty_fraction);
    }
    if (config->budget_per_ms < 0) {
        return err_set(err, ERR_CONFIG, "triage.budget.per is negative: 0 means no limit");
    }
    if (config->rule_count > TRIAGE_RULES_MAX || config->defined_count > TRIAGE_RULES_MAX) {
        return err_set(err, ERR_CONFIG, "triage.rules has %zu rules, at most %d are taken",
                       config->rule_count, TRIAGE_RULES_MAX);
    }
    return 0;
}

static int bind_rules(struct triage *triage, struct err *err) {
    for (size_t i = 0; i < triage->config.rule_count; i++) {
        char *name = triage->config.rules[i];
        name[FRAME_NAME_MAX] = '\0';
        struct triage__rule *rule = &triage->rules[triage->rule_count++];
        int code = triage__rule_read(&triage->config, name, rule, err);
        if (code) {
            return code;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(triage->config.rules[j], name) == 0) {
                return err_set(err, ERR_CONFIG, "triage.rules names '%s' twice", name);
            }
        }
        triage->tracks = triage->tracks || rule->set.kind == TRIAGE_FLICKER;
        triage->prints = triage->prints || rule->set.kind == TRIAGE_NOVELTY;
        if (rule->own_budget && !triage->purses) {
            triage->purses = mem_array(TRIAGE__PURSES_MAX, sizeof(*triage->purses));
        }
        if (rule->own_budget && !triage->purses) {
            return err_set(err, ERR_NOMEM, "triage: no memory");
        }
    }
    return 0;
}

/* What is defined and not in force must be right too: it is found now, not when it is needed. */
static int check_defined(const struct triage_config *config, struct err *err) {
    int code = 0;
    for (size_t i = 0; !code && i < config->defined_count; i++) {
        struct triage__rule rule;
        code = triage__rule_read(config, config->defined[i].name, &rule, err);
        triage__rule_finish(&rule);
    }
    return code;
}

int triage_create(const struct triage_config *config, const struct triage_memory *memory,
                  struct triage **out, struct err *err) {
    struct triage *triage = mem_alloc(sizeof *triage);

    if (!triage || !(triage->cameras = mem_array(TRIAGE_CAMERAS_MAX, sizeof *triage->cameras))) {
        triage_destroy(triage);
        return err_set(err, ERR_NOMEM, "triage: no memory");
    }
    triage->config = *config;
    if (memory) {
        triage->memory = *memory;
    }
    if (triage->config.uncertain_floor == 0) {
        triage->config.uncertain_floor = FLOOR_DEFAULT;
    }
    int code = check_config(&triage->config, err);
    code = code ? code : check_defined(&triage->config, err);
    code = code ? code : bind_rules(triage, err);
    if (code) {
        triage_destroy(triage);
        return code;
    }
    triage->config.defined_count = 0; /* its texts are the caller's */
    *out = triage;
    return 0;
}

void triage_destroy(struct triage *triage) {
    if (!triage) {
        return;
    }
    for (size_t i = 0; i < triage->camera_count; i++) {
        camera_save(triage, &triage->cameras[i]);
        free(triage->cameras[i].tracks);
        free(triage->cameras[i].gallery);
    }
    triage__budget_save_all(triage);
    for (size_t i = 0; i < triage->rule_count; i++) {
        triage__rule_finish(&triage->rules[i]);
    }
    free(triage->purses);
    free(triage->cameras);
    free(triage);
}
