#include "webui/bulk.h"
#include "daemon/base/mem.h"
#include "webui/html.h"
#include "webui/share.h"

static void whole_link(struct buf *page, const char *id, const char *href, const char *query,
                       const char *icon, const char *text) {
    buf_printf(page, "<a class=\"button plain\" id=\"%s\" href=\"%s", id, href);
    buf_puts_html(page, query);
    buf_printf(page, "\"><svg aria-hidden=\"true\"><use href=\"#i-%s\"/></svg>%s</a>", icon, text);
}

void webui__html_whole(struct buf *page, const char *query, const struct webui__bulk *bulk) {
    if (bulk->exports) {
        whole_link(page, "whole-export",
                   query[0] ? "/export?format=coco&amp;" : "/export?format=coco", query, "download",
                   "Export");
    }
    if (bulk->changes) {
        whole_link(page, "whole-share", query[0] ? "/shares?" : "/shares", query, "link", "Share");
    }
}

/* ---- the bar ---- */

static void button(struct buf *page, const char *act, const char *key, const char *icon,
                   const char *text) {
    buf_printf(page,
               "<button class=\"button plain\" type=\"button\" data-act=\"%s\" data-key=\"%s\"%s%s"
               "%s><svg aria-hidden=\"true\"><use href=\"#i-%s\"/></svg>%s</button>",
               act, key, key[0] ? " aria-keyshortcuts=\"" : "", key, key[0] ? "\"" : "", icon,
               text);
}

static void toolbar(struct buf *page, const struct webui__bulk *bulk) {
    static const struct {
        const char *act, *key, *icon, *text;
        bool changes;
    } acts[] = {
        {"pin", "p", "pin", "Pin", true},
        {"unpin", "", "pin", "Unpin", true},
        {"wanted", "l", "tag", "For labeling", true},
        {"accepted", "a", "done", "Right", true},
        {"rejected", "r", "cross", "Wrong", true},
        {"export", "e", "download", "Export…", false},
        {"share", "s", "link", "Share…", true},
        {"remove", "Delete", "bin", "Delete…", true},
    };
    buf_puts(page, "<p class=\"hidden\" id=\"bulk-said\" role=\"status\"></p>"
                   "<div class=\"bulk\" id=\"bulk\" role=\"toolbar\" aria-label=\"Selected "
                   "frames\" hidden><output id=\"bulk-count\"></output>");
    for (size_t i = 0; i < ARRAY_LENGTH(acts); i++) {
        if (acts[i].changes ? bulk->changes : bulk->exports) {
            button(page, acts[i].act, acts[i].key, acts[i].icon, acts[i].text);
        }
    }
    buf_puts(page, "<button class=\"button plain\" type=\"button\" id=\"bulk-all\">All shown"
                   "</button><button class=\"button plain\" type=\"button\" id=\"bulk-none\">"
                   "None</button></div>");
}

/* ---- dialogs ---- */

static void ask_removal(struct buf *page, bool remotes) {
    buf_puts(page, "<dialog id=\"ask\" aria-labelledby=\"ask-title\"><form method=\"dialog\"><h2 "
                   "id=\"ask-title\">Delete <span class=\"what\"></span>?</h2><p id=\"ask-text\">"
                   "</p>");
    buf_puts(page, remotes
                       ? "<fieldset><legend>Where</legend><label><input type=\"radio\" "
                         "name=\"where\" value=\"here\" checked> on this device; what is in the "
                         "cloud stays there</label><label><input type=\"radio\" name=\"where\" "
                         "value=\"everywhere\"> here and at every remote, for good</label>"
                         "</fieldset>"
                       : "<p class=\"quiet\">What is in the cloud stays there.</p>");
    buf_puts(page,
             "<label id=\"ask-force\"><input type=\"checkbox\"> also what is pinned, or not "
             "uploaded yet</label><p class=\"quiet\">The frames stay in the gallery with their "
             "thumbnails.</p><p class=\"actions\"><button class=\"button danger\" value=\"yes\">"
             "Delete</button><button class=\"button plain\" value=\"no\" autofocus>Keep</button>"
             "</p></form></dialog>");
}

static void ask_export(struct buf *page) {
    buf_puts(page,
             "<dialog id=\"export\" aria-labelledby=\"export-title\"><form method=\"dialog\"><h2 "
             "id=\"export-title\">Export <span class=\"what\"></span></h2><p>A tar file: the "
             "pictures as they came in, and the boxes that the model found, as a draft to be "
             "corrected.</p><fieldset><legend>Labels as</legend><label><input type=\"radio\" "
             "name=\"format\" value=\"coco\" checked> COCO (annotations.json)</label><label><input "
             "type=\"radio\" name=\"format\" value=\"yolo\"> YOLO (a text file for each picture)"
             "</label></fieldset><p class=\"quiet\">Frames whose picture has left this device are "
             "listed in left-out.txt.</p><p class=\"actions\"><button class=\"button\" "
             "value=\"yes\">Download</button><button class=\"button plain\" value=\"no\">Cancel"
             "</button></p></form></dialog><form id=\"export-form\" method=\"post\" "
             "action=\"/export\" hidden><input type=\"hidden\" name=\"csrf\"><input "
             "type=\"hidden\" name=\"format\"><input type=\"hidden\" name=\"frames\"></form>");
}

static void ask_share(struct buf *page) {
    buf_puts(page, "<dialog id=\"share\" aria-labelledby=\"share-title\"><form method=\"dialog\">"
                   "<h2 id=\"share-title\">Share <span class=\"what\"></span></h2><p>Whoever has "
                   "the link sees these frames, and nothing else, without a login. You can take it "
                   "back under Shares.</p><label><span>Title</span><input id=\"share-name\" "
                   "maxlength=\"100\" required></label><label><span>Open for</span><select "
                   "id=\"share-ttl\">");
    webui__html_share_lives(page);
    buf_puts(page, "</select></label><p class=\"actions\"><button class=\"button\" value=\"yes\">"
                   "Make the link</button><button class=\"button plain\" value=\"no\" "
                   "formnovalidate>Close</button><output id=\"share-said\" role=\"status\">"
                   "</output><input id=\"share-link\" readonly hidden aria-label=\"The link\"></p>"
                   "</form></dialog>");
}

void webui__html_bulk(struct buf *page, const struct webui__bulk *bulk) {
    toolbar(page, bulk);
    if (bulk->exports) {
        ask_export(page);
    }
    if (bulk->changes) {
        ask_removal(page, bulk->remotes);
        ask_share(page);
    }
}
