// Renews the page's content once in a while; without script a reload does the same.
"use strict";
const EVERY_MS = 10000;
setInterval(async () => {
  if (document.hidden || document.querySelector("details[open], :focus-visible")) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
  } catch { /* the server is away; the next turn may find it */ }
}, EVERY_MS);
