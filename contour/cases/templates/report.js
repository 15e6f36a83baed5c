"use strict";
// Each row is a tbody of its own, so that its details move and hide with it.
for (const block of document.querySelectorAll(".table")) {
  const table = block.querySelector("table");
  const rows = [...table.tBodies];
  const text = block.querySelector("input");
  const menus = [...block.querySelectorAll("select")];
  const shown = block.querySelector(".shown");
  const cell = (row, column) => row.rows[0].cells[column];

  const open = (row, wanted) => {
    const opener = row.querySelector(".opener");
    if (!opener) return;
    opener.setAttribute("aria-expanded", wanted);
    row.rows[1].hidden = !wanted;
  };
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const content = row.rows[0].textContent.toLowerCase();
      const fits = words.every(word => content.includes(word)) &&
        menus.every(menu => !menu.value || cell(row, menu.dataset.column).dataset.text === menu.value);
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
  };
  const sort = (head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => {
      const found = cell(row, head.cellIndex).dataset;
      return "order" in found ? Number(found.order) : found.text;
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number"
      ? Math.sign(a - b) || 0 : String(a).localeCompare(String(b), undefined, { numeric: true });
    const last = row => Number.isNaN(key(row)) ? 1 : 0;
    rows.sort((a, b) => last(a) - last(b) || (down ? -1 : 1) * compare(key(a), key(b)));
    table.append(...rows);
  };

  for (const row of rows) {
    if (!row.rows[1]) continue;
    open(row, false);
    row.rows[0].addEventListener("click", () => open(row, row.rows[1].hidden));
  }
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  block.querySelector(".filters").hidden = rows.length < 2;
  text.addEventListener("input", filter);
  for (const menu of menus) menu.addEventListener("change", filter);
  const all = block.querySelector(".all");
  if (all) all.addEventListener("click", () => {
    const wanted = all.dataset.open !== "true";
    all.dataset.open = wanted;
    all.textContent = wanted ? "Close all" : "Open all";
    for (const row of rows) if (row.rows[1]) open(row, wanted);
  });
  filter();
}
