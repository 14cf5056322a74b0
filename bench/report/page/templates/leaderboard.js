// Sorting and filtering of the leaderboards.

const NUMBER = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function sortBy(table, header) {
  const column = header.cellIndex;
  const isNumber = header.querySelector("button").dataset.kind === "number";
  const isAscending = header.getAttribute("aria-sort") !== "ascending";
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, key: row.cells[column].dataset.sort }));
  const direction = isAscending ? 1 : -1;
  keyed.sort((a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    return direction * (isNumber ? Number(a.key) - Number(b.key) : NUMBER.compare(a.key, b.key));
  });
  for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  body.append(...keyed.map((one) => one.row));
}

function filterRows(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const rows = document.querySelectorAll(".leaderboard tbody tr");
  for (const row of rows) {
    const content = [...row.cells].filter((cell) => !cell.classList.contains("number"))
      .map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => content.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
}
