/* user, token: who may come in. A password is read from the terminal, without being shown, or as a
 * line of standard input; never from the command line, which others see. */
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "webui/webui.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char user_usage[] =
    "usage: creel user add NAME [--role viewer|admin] [--json] [--config FILE] [--set "
    "KEY=VALUE]...\n"
    "       creel user passwd NAME\n"
    "       creel user rm NAME\n"
    "       creel user ls\n"
    "  People who may log in at the gallery: a viewer looks, an admin changes things too. The\n"
    "  password is asked for, or read as a line of standard input. As soon as there is a user,\n"
    "  everybody has to log in, on this machine too.\n";

static const char token_usage[] =
    "usage: creel token add NAME --scope read|write|ingest[,...] [--days N] [--json] [--config "
    "FILE]\n"
    "       creel token rm NAME\n"
    "       creel token ls\n"
    "  Tokens for machines (Authorization: Bearer TOKEN): read and write at the gallery and its\n"
    "  API, ingest at /score and its kin. A token is printed once, when it is made.\n";

/* ---- passwords ---- */

static int read_line(char *out, size_t room) {
    if (!fgets(out, (int)room, stdin)) {
        fputs("creel: a password was expected on standard input\n", stderr);
        return EXIT_USAGE;
    }
    if (!strchr(out, '\n') && !feof(stdin)) {
        fprintf(stderr, "creel: a password has at most %d bytes\n", WEBUI_PASSWORD_MAX);
        return EXIT_USAGE;
    }
    out[strcspn(out, "\n")] = '\0';
    return EXIT_OK;
}

static int ask_once(const char *prompt, char *out, size_t room) {
    struct termios shown, hidden;
    fputs(prompt, stderr);
    if (tcgetattr(STDIN_FILENO, &shown) < 0) {
        fprintf(stderr, "creel: cannot hide what is typed: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    int status = read_line(out, room);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputs("\n", stderr);
    return status;
}

static int ask_password(char *out, size_t room) {
    char again[WEBUI_PASSWORD_MAX + 2];
    if (!isatty(STDIN_FILENO)) {
        return read_line(out, room);
    }
    int status = ask_once("Password: ", out, room);
    status = status ? status : ask_once("Once more: ", again, sizeof(again));
    if (!status && strcmp(out, again) != 0) {
        fputs("creel: these are two different passwords\n", stderr);
        status = EXIT_FAILED;
    }
    explicit_bzero(again, sizeof(again));
    return status;
}

/* ---- answers ---- */

static int show_done(const struct options *options, const json_t *reply,
                     const struct control_bytes *bytes, void *done) {
    (void)bytes;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    const char *token = json_string_value(json_object_get(reply, "token"));
    if (token) {
        puts(token);
    } else {
        printf("%s %s\n", json_string_value(json_object_get(reply, "name")), (const char *)done);
    }
    return commands_output_end();
}

static void show_scopes(const json_t *scopes) {
    size_t i = 0;
    json_t *scope = NULL;
    json_array_foreach(scopes, i, scope) {
        printf("%s%s", i ? "," : "", json_string_value(scope));
    }
}

static int show_list(const struct options *options, const json_t *reply,
                     const struct control_bytes *bytes, void *key) {
    size_t i = 0;
    json_t *one = NULL;
    (void)bytes;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    json_array_foreach(json_object_get(reply, key), i, one) {
        const char *role = json_string_value(json_object_get(one, "role"));
        const char *expires = json_string_value(json_object_get(one, "expires"));
        printf("%-32s %s", json_string_value(json_object_get(one, "name")), role ? role : "");
        show_scopes(json_object_get(one, "scopes"));
        printf("%s%s\n", expires ? " until " : "", expires ? expires : "");
    }
    return commands_output_end();
}

static int ask_list(const struct options *options, const char *request, const char *key) {
    char own[16];
    snprintf(own, sizeof(own), "%s", key);
    return commands_ask(options, false, json_pack("{s:s}", "request", request), show_list, own);
}

static int ask_change(const struct options *options, json_t *request, const char *done) {
    char own[32];
    snprintf(own, sizeof(own), "%s", done);
    return commands_ask(options, false, request, show_done, own);
}

/* ---- user ---- */

static int user_change(const struct options *options, const char *request, const char *role,
                       const char *done) {
    char password[WEBUI_PASSWORD_MAX + 2];
    int status = ask_password(password, sizeof(password));
    if (!status) {
        status = ask_change(options,
                            json_pack("{s:s,s:s,s:s,s:s}", "request", request, "name",
                                      options->operands[1], "role", role, "password", password),
                            done);
    }
    explicit_bzero(password, sizeof(password));
    return status;
}

static int wrong(const char *usage) {
    fputs(usage, stderr);
    return EXIT_USAGE;
}

int cmd_user(int argc, char **argv) {
    const char *role = NULL;
    const struct option_spec own[] = {{"role", NULL, &role}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, user_usage, own, ARRAY_LENGTH(own), 1, 2, &options, &done);
    if (done) {
        return status;
    }
    const char *verb = options.operands[0];
    bool named = options.operand_count == 2, add = strcmp(verb, "add") == 0;
    if ((role && !add) || named == (strcmp(verb, "ls") == 0)) {
        return wrong(user_usage);
    }
    if (add) {
        return user_change(&options, "user-add", role ? role : "viewer", "may log in");
    }
    if (strcmp(verb, "passwd") == 0) {
        return user_change(&options, "user-passwd", "", "has another password");
    }
    if (strcmp(verb, "rm") == 0) {
        return ask_change(&options,
                          json_pack("{s:s,s:s}", "request", "user-rm", "name", options.operands[1]),
                          "may log in no more");
    }
    return named ? wrong(user_usage) : ask_list(&options, "user-ls", "users");
}

/* ---- token ---- */

static int token_add(const struct options *options, const char *scope, const char *days) {
    char *end = NULL;
    long count = days ? strtol(days, &end, 10) : 0;
    if (days && (end == days || *end || count < 1)) {
        fputs("creel: --days takes a whole number from 1\n", stderr);
        return EXIT_USAGE;
    }
    return ask_change(options,
                      json_pack("{s:s,s:s,s:s,s:I}", "request", "token-add", "name",
                                options->operands[1], "scope", scope, "days", (json_int_t)count),
                      "");
}

int cmd_token(int argc, char **argv) {
    const char *scope = NULL, *days = NULL;
    const struct option_spec own[] = {{"scope", NULL, &scope}, {"days", NULL, &days}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, token_usage, own, ARRAY_LENGTH(own), 1, 2, &options, &done);
    if (done) {
        return status;
    }
    const char *verb = options.operands[0];
    bool named = options.operand_count == 2, add = strcmp(verb, "add") == 0;
    if (add != (scope != NULL) || (days && !add) || named == (strcmp(verb, "ls") == 0)) {
        return wrong(token_usage);
    }
    if (add) {
        return token_add(&options, scope, days);
    }
    if (strcmp(verb, "rm") == 0) {
        return ask_change(
            &options, json_pack("{s:s,s:s}", "request", "token-rm", "name", options.operands[1]),
            "is no token any more");
    }
    return named ? wrong(token_usage) : ask_list(&options, "token-ls", "tokens");
}
