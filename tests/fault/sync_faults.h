/* sync_faults: what the matrix plays, a row a fault; what it is to the frames while it lasts, and
 * the words in which creel must speak of it.
 */
#ifndef CREEL_TESTS_SYNC_FAULTS_H
#define CREEL_TESTS_SYNC_FAULTS_H

#include "tests/fault/sync_cell.h"

static const struct fault faults[] = {
    {"2xx for other bytes", PROXY_CHECK_LIE, HOLDS, "was there a moment ago", .puts = true},
    {"refused", PROXY_REFUSE, HOLDS, "no connection", .at = 0},
    {"reset at byte 1 of the request", PROXY_RESET_REQUEST, HOLDS, "connection", .at = 1},
    {"reset in the request's head", PROXY_RESET_REQUEST, HOLDS, "connection", .at = 200,
     .full = true},
    {"reset in the body", PROXY_RESET_REQUEST, HOLDS, "connection", .at = 5000, .puts = true},
    {"reset before the body's end", PROXY_RESET_REQUEST, HOLDS, "connection", .at = -1,
     .puts = true, .full = true},
    {"reset before the reply", PROXY_RESET_REPLY, HOLDS, "connection", .at = 0},
    {"reset at byte 1 of the reply", PROXY_RESET_REPLY, HOLDS, "connection", .at = 1, .full = true},
    {"reset in the reply's head", PROXY_RESET_REPLY, HOLDS, "connection", .at = 60},
    {"reset before the reply's end", PROXY_RESET_REPLY, HOLDS, "connection", .at = -1,
     .full = true},
    {"reply cut at once", PROXY_CUT_REPLY, HOLDS, "hung up", .at = 0, .full = true},
    {"reply cut in its first line", PROXY_CUT_REPLY, HOLDS, "", .at = 9, .full = true},
    {"reply cut in its head", PROXY_CUT_REPLY, HOLDS, "ended early", .at = 40},
    {"reply cut later in its head", PROXY_CUT_REPLY, HOLDS, "ended early", .at = 120, .full = true},
    {"reply cut before its end", PROXY_CUT_REPLY, HOLDS, "ended early", .at = -1},
    {"reply shorter than it says", PROXY_LONG_REPLY, HOLDS, "ended early", .at = 0},
    {"stalled request", PROXY_STALL_REQUEST, HOLDS, "nothing moved", .at = 4000, .puts = true,
     .full = true},
    {"stalled before the reply", PROXY_STALL_REPLY, HOLDS, "nothing moved", .at = 0},
    {"stalled in the reply", PROXY_STALL_REPLY, HOLDS, "nothing moved", .at = 50, .full = true},
    {"body damaged on the way", PROXY_BODY_DAMAGED, HOLDS, "", .puts = true},
    {"checksum wrong in the reply", PROXY_CHECK_WRONG, ARRIVES, "", .puts = true},
    {"checksum absent in the reply", PROXY_CHECK_ABSENT, ARRIVES, "", .puts = true},
    {"checksum absent in all replies", PROXY_CHECK_ABSENT, ARRIVES, "", .full = true},
    {"checksum wrong in all replies", PROXY_CHECK_WRONG, EITHER, "other bytes", .at = 0,
     .full = true},
    {"400", PROXY_ANSWER, HOLDS, "refused", .status = 400, .azure = "InvalidInput",
     .s3 = "InvalidRequest"},
    {"401", PROXY_ANSWER, HOLDS, "not accepted|access key", .status = 401,
     .azure = "NoAuthenticationInformation", .s3 = "InvalidAccessKeyId", .full = true},
    {"403 for skew", PROXY_ANSWER, HOLDS, "key|clock", .status = 403,
     .azure = "AuthenticationFailed", .s3 = "RequestTimeTooSkewed", .extra = SKEWED},
    {"403 for rights", PROXY_ANSWER, HOLDS, "permission|s3:PutObject", .status = 403,
     .azure = "AuthorizationPermissionMismatch", .s3 = "AccessDenied"},
    {"404", PROXY_ANSWER, HOLDS, "does not exist", .status = 404, .azure = "ContainerNotFound",
     .s3 = "NoSuchBucket"},
    {"408", PROXY_ANSWER, HOLDS, "waited too long", .status = 408, .azure = "", .s3 = ""},
    {"409, and nothing there", PROXY_ANSWER, HOLDS, "was there a moment ago|another writer",
     .puts = true, .status = 409, .azure = "BlobAlreadyExists", .s3 = "ConditionalRequestConflict"},
    {"412, and nothing there", PROXY_ANSWER, HOLDS, "was there a moment ago", .puts = true,
     .status = 412, .azure = "ConditionNotMet", .s3 = "PreconditionFailed"},
    {"409 or 412 to what was just stored", PROXY_ANSWER_AFTER, ARRIVES, "", .puts = true,
     .status = 412, .azure = "BlobAlreadyExists", .s3 = "PreconditionFailed"},
    {"429", PROXY_ANSWER, HOLDS, "slow down", .status = 429, .azure = "", .s3 = ""},
    {"429 with Retry-After", PROXY_ANSWER, HOLDS, "slow down", .status = 429, .azure = "", .s3 = "",
     .extra = RETRY_DATE, .full = true},
    {"500", PROXY_ANSWER, HOLDS, "fault", .status = 500, .azure = "InternalError",
     .s3 = "InternalError"},
    {"500 for what was stored", PROXY_ANSWER_AFTER, HOLDS, "fault", .puts = true, .status = 500,
     .azure = "InternalError", .s3 = "InternalError", .full = true},
    {"503", PROXY_ANSWER, HOLDS, "limits|slow down", .status = 503, .azure = "ServerBusy",
     .s3 = "SlowDown"},
    {"503 with Retry-After", PROXY_ANSWER, HOLDS, "limits|slow down", .status = 503,
     .azure = "ServerBusy", .s3 = "SlowDown", .extra = RETRY_1},
    {"TLS: certificate not trusted", PROXY_PASS, HOLDS, "not trusted", .at = 0},
    {"TLS: certificate has ended", PROXY_PASS, HOLDS, "not trusted", .at = 0, .full = true},
    {"TLS: the other side speaks none", PROXY_NOT_TLS, HOLDS, "TLS", .at = 0},
    {"TLS: reset in the handshake", PROXY_TUNNEL_RESET, HOLDS, "", .at = 300},
    {"DNS: the name is not known", PROXY_PASS, HOLDS, "not known", .at = 0},
};

/* Played by the servers themselves, once all cells are done: they are shared. */
static const struct fault server_dies = {"server killed in the middle of requests",
                                         PROXY_HALF,
                                         HOLDS,
                                         "connection",
                                         .at = 3000,
                                         .puts = true};

#define FAULTS (sizeof faults / sizeof faults[0])

#endif
