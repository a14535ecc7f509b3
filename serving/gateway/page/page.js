"use strict";
// What the pages share; each has a function known(), which tells what can be asked of it.
const $ = (id) => document.getElementById(id);

const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) { // from the printed link; it must not stay in the address
  sessionStorage.setItem("key", given);
  history.replaceState(null, "", location.pathname);
}
$("key").value = sessionStorage.getItem("key") || "";
$("keybox").open = !$("key").value;
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value.trim()); say(""); known(); });
for (const link of document.querySelectorAll("nav a:not([aria-current])")) {
  // A new tab has no storage of this one: the key goes along, and only while the link is followed.
  for (const followed of ["click", "auxclick"]) {
    link.addEventListener(followed, () => {
      const bare = link.getAttribute("href"), key = $("key").value.trim();
      if (key) link.setAttribute("href", `${bare}#key=${encodeURIComponent(key)}`);
      setTimeout(() => link.setAttribute("href", bare));
    });
  }
}

async function call(path, body) {
  const headers = { authorization: `Bearer ${$("key").value.trim()}` };
  const options = body ? { method: "POST", body: JSON.stringify(body), headers: { ...headers, "content-type": "application/json" } } : { headers };
  let response;
  try { response = await fetch(path, options); } catch { throw new Error("The gateway does not answer. Is it running?"); }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401) { $("keybox").open = true; $("key").focus(); }
    const error = new Error((content.error && content.error.message) || `HTTP ${response.status}`);
    error.content = content.error || {};
    throw error;
  }
  return content;
}

function say(text, bad = false) { $("status").textContent = text; $("status").className = bad ? "bad" : ""; }

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text; // never as HTML: values are anybody's
  if (kind) made.className = kind;
  return made;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(shown).join(", ") || "–";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  return value.toLocaleString("en", { useGrouping: "min2", ...(Number.isInteger(value) ? {} : { maximumSignificantDigits: 5 }) }); // a year has no comma
}

function rows(columns, values) {
  const table = $("rows");
  table.replaceChildren();
  const numbers = columns.map((_, i) => values.some((row) => typeof row[i] === "number"));
  const head = table.createTHead().insertRow();
  columns.forEach((name, i) => { const th = element("th", name, numbers[i] ? "n" : ""); th.scope = "col"; head.append(th); });
  const body = table.createTBody();
  for (const row of values.slice(0, 500)) {
    const line = body.insertRow();
    row.forEach((value, i) => line.append(element("td", shown(value), numbers[i] ? "n" : "")));
  }
  return values.length > 500 ? `${values.length} rows, the first 500 are shown` : values.length === 1 ? "1 row" : `${values.length} rows`;
}
