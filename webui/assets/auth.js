"use strict";
/* For who has logged in: every change that a page sends carries the session's CSRF token, and the
   navigation leads to the page where one logs out. */
(() => {
    const name = "creel-csrf=";
    const cookie = document.cookie.split("; ").find((one) => one.startsWith(name));
    if (!cookie) {
        return;
    }
    const csrf = cookie.slice(name.length);
    const send = window.fetch.bind(window);
    window.fetch = (what, options) => {
        const request = new Request(what, options);
        const ours = new URL(request.url).origin === location.origin;
        if (ours && request.method !== "GET" && request.method !== "HEAD") {
            request.headers.set("X-Creel-CSRF", csrf);
        }
        return send(request);
    };
    document.addEventListener("submit", (event) => {
        const field = event.target.querySelector("input[name=csrf]");
        if (field && !field.value) {
            field.value = csrf;
        }
    }, true);
    const link = document.createElement("a");
    link.href = "/login";
    link.textContent = "Account";
    document.querySelector("header.top nav").append(link);
})();
