"use strict";
// Sorting and filtering. Rows never leave their tbody: only what is comparable is put in one order.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

function valueOf(row, column) {
  const cell = row.cells[column];
  if (column === 0) return row.dataset.name;
  return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
}

function sortBody(body, column, direction) {
  const rows = all("tr[data-name]", body);
  const key = new Map(rows.map((row, i) => [row, [valueOf(row, column), i]]));
  rows.sort((a, b) => {
    const [x, i] = key.get(a), [y, j] = key.get(b);
    if (x === null || y === null) return (x === null) - (y === null) || i - j; // without a number: last, both ways
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return direction * order || i - j;
  });
  rows.forEach((row) => body.append(row));
}

function sortTable(th) {
  const table = th.closest("table");
  const first = th.cellIndex === 0 ? "ascending" : "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const wanted = th.getAttribute("aria-sort") === first ? other : first;
  all("thead th", table).forEach((each) => each.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", wanted);
  for (const body of table.tBodies) sortBody(body, th.cellIndex, wanted === "ascending" ? 1 : -1);
}

function filter() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const published = byId("published").checked;
  const shown = (name, kind) => (kind === "ours" || published) && words.every((word) => name.includes(word));
  let visible = 0, total = 0;
  all("tr[data-name]").forEach((row) => {
    row.hidden = !shown(row.dataset.name, row.dataset.kind);
    total += 1;
    visible += !row.hidden;
  });
  all("tbody").forEach((body) => { body.hidden = all("tr[data-name]:not([hidden])", body).length === 0; });
  all("[data-mark]").forEach((mark) => mark.toggleAttribute("hidden", !shown(mark.dataset.mark, mark.dataset.kind)));
  byId("count").value = `${visible} of ${total} rows`;
}

function toggleClass(id, name) {
  document.body.classList.toggle(name, !byId(id).checked);
}

function toggleTheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
}

all("thead button").forEach((button) => button.addEventListener("click", () => sortTable(button.closest("th"))));
byId("find").addEventListener("input", filter);
byId("published").addEventListener("change", filter);
byId("remembered").addEventListener("change", () => toggleClass("remembered", "no-remembered"));
byId("intervals").addEventListener("change", () => toggleClass("intervals", "no-intervals"));
byId("theme").addEventListener("click", toggleTheme);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
all("nav a").forEach((link) => link.addEventListener("click", () => {
  const folded = byId(decodeURIComponent(link.hash.slice(1))).querySelector(":scope > details");
  if (folded) folded.open = true;
}));
filter();
