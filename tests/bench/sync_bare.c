/* The peer to measure against: no store, no receipts, no retries. For each file: read, SHA-256
 * (Azure: CRC-64 too), the same headers and the same signature that creel sends, one PUT over
 * libcurl. */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/crc64.h"
#include "sync/sign.h"
#include "tests/bench/sync_bench.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BARE_MAX 256

struct transfer {
    CURL *easy;
    struct curl_slist *lines;
    struct buf bytes;
    size_t sent;
};

struct bare {
    const struct bench_work *work;
    const struct bench_server *server;
    CURLM *multi;
    uint8_t key[64];
    size_t key_size;
    uint64_t next, done, failed;
};

static size_t on_read(char *out, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    size_t room = size * count, left = transfer->bytes.len - transfer->sent;
    size_t taken = left < room ? left : room;
    memcpy(out, transfer->bytes.data + transfer->sent, taken);
    transfer->sent += taken;
    return taken;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx) {
    (void)bytes, (void)ctx;
    return size * count;
}

static void lines_set(struct transfer *transfer, const struct sign_field *fields, size_t count,
                      const char *authorization) {
    char line[SIGN_HEADER_MAX + 64];
    curl_slist_free_all(transfer->lines);
    transfer->lines = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, "host") != 0) {
            snprintf(line, sizeof line, "%s: %s", fields[i].name, fields[i].value);
            transfer->lines = curl_slist_append(transfer->lines, line);
        }
    }
    snprintf(line, sizeof line, "authorization: %s", authorization);
    transfer->lines = curl_slist_append(transfer->lines, line);
}

static int sign_azure(struct bare *bare, struct transfer *transfer, const char *path,
                      struct err *err) {
    struct frame_hash sha;
    char hex[HASH_HEX_SIZE], crc64[CRC64_BASE64_SIZE], date[64];
    char authorization[SIGN_HEADER_MAX];
    hash_sha256(transfer->bytes.data, transfer->bytes.len, &sha);
    struct sign_field fields[] = {
        {"content-type", "image/jpeg"},
        {"if-none-match", "*"},
        {"x-ms-blob-type", "BlockBlob"},
        {"x-ms-content-crc64",
         sync__crc64_base64(transfer->bytes.data, transfer->bytes.len, crc64)},
        {"x-ms-date", clock_format_http(clock_utc_us(), date)},
        {"x-ms-meta-sha256", hash_hex(sha.bytes, sizeof sha.bytes, hex)},
        {"x-ms-version", "2021-12-02"},
    };
    struct sign_azure signing = {.method = "PUT",
                                 .account = bare->server->account,
                                 .path = path,
                                 .headers = fields,
                                 .header_count = ARRAY_LENGTH(fields),
                                 .content_length = transfer->bytes.len};
    int code = sync__sign_azure(&signing, bare->key, bare->key_size, authorization, err);
    lines_set(transfer, fields, ARRAY_LENGTH(fields), authorization);
    return code;
}

static int sign_s3(struct bare *bare, struct transfer *transfer, const char *path,
                   struct err *err) {
    struct frame_hash sha;
    char hex[HASH_HEX_SIZE], sha64[HASH_BASE64_SIZE(32)], date[64];
    char authorization[SIGN_HEADER_MAX];
    int64_t now_us = clock_utc_us();
    time_t now_s = (time_t)(now_us / 1000000);
    struct tm parts;
    hash_sha256(transfer->bytes.data, transfer->bytes.len, &sha);
    hash_base64(sha.bytes, sizeof sha.bytes, sha64);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", gmtime_r(&now_s, &parts));
    struct sign_field fields[] = {
        {"content-type", "image/jpeg"},
        {"host", strstr(bare->server->url, "//") + 2},
        {"if-none-match", "*"},
        {"x-amz-checksum-sha256", sha64},
        {"x-amz-content-sha256", hash_hex(sha.bytes, sizeof sha.bytes, hex)},
        {"x-amz-date", date},
        {"x-amz-meta-sha256", hex},
    };
    struct sign_aws signing = {.method = "PUT",
                               .path = path,
                               .query = "",
                               .headers = fields,
                               .header_count = ARRAY_LENGTH(fields),
                               .payload = hex,
                               .utc_us = now_us};
    struct sign_aws_key key = {.access_key = bare->server->account,
                               .secret_key = bare->server->key,
                               .region = "us-east-1",
                               .service = "s3"};
    int code = sync__sign_aws(&signing, &key, authorization, err);
    lines_set(transfer, fields, ARRAY_LENGTH(fields), authorization);
    return code;
}

static int start(struct bare *bare, struct transfer *transfer, struct err *err) {
    const struct bench_server *server = bare->server;
    char file[BENCH_PATH_MAX + 32], path[256], url[512];
    uint64_t n = bare->next++;
    snprintf(file, sizeof file, "%s/%08llu.jpg", bare->work->files, (unsigned long long)n);
    buf_reset(&transfer->bytes);
    transfer->sent = 0;
    int code = fs_read_file(file, &transfer->bytes, err);
    if (code != 0) {
        return code;
    }
    bool azure = server->kind == SYNC_AZURE;
    snprintf(path, sizeof path, "%s%s/%s/bare-%d/%08llu.jpg", azure ? "/" : "",
             azure ? server->account : "", server->bucket, getpid(), (unsigned long long)n);
    snprintf(url, sizeof url, "%s%s", server->url, azure ? strchr(path + 1, '/') : path);
    code = azure ? sign_azure(bare, transfer, path, err) : sign_s3(bare, transfer, path, err);
    CURL *easy = transfer->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)transfer->bytes.len);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->lines);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_multi_add_handle(bare->multi, easy);
    return code;
}

static int take_done(struct bare *bare, struct err *err) {
    int left = 0, code = 0;
    for (CURLMsg *msg; code == 0 && (msg = curl_multi_info_read(bare->multi, &left)) != NULL;) {
        struct transfer *transfer = NULL;
        long status = 0;
        CURL *easy = msg->easy_handle;
        bool good = msg->data.result == CURLE_OK;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_multi_remove_handle(bare->multi, easy);
        bare->done++;
        bare->failed += !good || status / 100 != 2;
        if (bare->next < bare->work->frames) {
            code = start(bare, transfer, err);
        }
    }
    return code;
}

int bench_bare(const struct bench_work *work, const struct bench_server *server, unsigned transfers,
               struct bench_result *out, struct err *err) {
    struct bare bare = {.work = work, .server = server};
    struct transfer *all = calloc(BARE_MAX, sizeof *all);
    int code = all == NULL ? err_set(err, ERR_NOMEM, "no memory") : 0;
    if (server->kind == SYNC_AZURE) {
        hash_parse_base64(server->key, bare.key, sizeof bare.key, &bare.key_size);
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    bare.multi = curl_multi_init();
    bench_memory_reset();
    double wall_s = bench_clock_s(), cpu_s = bench_cpu_s();
    for (unsigned i = 0; code == 0 && i < transfers && i < BARE_MAX && i < work->frames; i++) {
        all[i].easy = curl_easy_init();
        all[i].bytes = (struct buf)BUF_INIT(64u << 20);
        code = start(&bare, &all[i], err);
    }
    for (int running = 1; code == 0 && bare.done < work->frames;) {
        curl_multi_perform(bare.multi, &running);
        code = take_done(&bare, err);
        if (running > 0) {
            curl_multi_poll(bare.multi, NULL, 0, 1000, NULL);
        }
    }
    *out = (struct bench_result){.wall_s = bench_clock_s() - wall_s,
                                 .cpu_s = bench_cpu_s() - cpu_s,
                                 .memory_mib = bench_memory_mib(),
                                 .objects = bare.done - bare.failed};
    curl_multi_cleanup(bare.multi);
    return code;
}
