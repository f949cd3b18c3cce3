"use strict";
/* For who has logged in: every change that a page sends carries the session's CSRF token, and the
   navigation leads to the page where one logs out. The other scripts send by way of `ask`. */
const csrf = document.cookie.split("; ").find((one) => one.startsWith("creel-csrf="))?.slice("creel-csrf=".length) ?? "";

// As fetch, to this server.
function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (csrf && options.method && options.method !== "GET") {
    headers.set("X-Creel-CSRF", csrf);
  }
  return fetch(path, { ...options, headers, mode: "same-origin" });
}

if (csrf) {
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
}
