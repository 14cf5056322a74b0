// Details of one model. Everything from the results becomes text nodes, never markup.

function element(name, content = [], attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...(Array.isArray(content) ? content : [content]));
  return made;
}

function table(titles, rows) {
  const head = element("tr", titles.map(([title, kind]) => element("th", title, { scope: "col", class: kind })));
  const body = rows.map(({ cells, kind = "" }) =>
    element("tr", cells.map((cell, index) => element("td", cell, { class: titles[index][1] })), { class: kind }));
  const made = element("table", [element("thead", head), element("tbody", body)]);
  return element("div", made, { class: "scroll", tabindex: "0" });
}

function folded(title, value) {
  return element("details", [element("summary", title), element("pre", JSON.stringify(value, null, 1))]);
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

function changesOf(details) {
  if (details.not_compared) return [element("p", details.not_compared, { class: "quiet" })];
  const explained = "Broken: right with the teacher, wrong with this model; mended: the reverse. Bold groups lost more than "
    + "the other utterances, beyond chance among all groups of the table (p < 0.05). Intervals and p take utterances as "
    + "independent: those of one speaker may change together, so groups of few speakers stand out too easily.";
  return [element("p", explained, { class: "quiet" }), ...details.changes.flatMap((change) => {
    if (change.not_compared) return [element("h4", change.title), element("p", change.not_compared, { class: "quiet" })];
    const [overall, ...groups] = change.groups;
    const rows = [overall, ...groups].map((group) => ({
      kind: group.stands_out ? "stands-out" : "",
      cells: [
        group.name, String(group.num_utterances), String(group.num_broken), String(group.num_mended),
        group.before.toFixed(2), group.now.toFixed(2),
        `${signed(group.difference)} (${group.interval ? group.interval.map(signed).join(" to ") : "too few utterances"})`,
        group.lost_more_by === null ? "" : signed(group.lost_more_by),
        group.p_value === null ? "" : group.p_value.toFixed(4),
      ],
    }));
    const number = "number";
    const titles = [
      ["group", ""], ["utterances", number], ["broken", number], ["mended", number], ["teacher", number],
      ["model", number], ["difference (95 % interval)", number], ["lost more by", number], ["p", number],
    ];
    const shown = change.broken.length;
    const utterances = table(
      [["utterance", "text"], ["reference", "text"], ["teacher", "text"], ["model", "text"]],
      change.broken.map((cells) => ({ cells })),
    );
    return [
      element("h4", `${change.title}, in percent`),
      table(titles, rows),
      ...(shown ? [element("details", [
        element("summary", `${change.num_broken} broken utterances${shown < change.num_broken ? `, the first ${shown}` : ""}`),
        utterances,
      ])] : []),
    ];
  })];
}

function drawLayers(place, rows) {
  const isNarrow = window.innerWidth < 640;
  const parts = [...new Set(rows.map((row) => row.part))];
  const layout = baseLayout();
  const columns = isNarrow ? 1 : Math.min(parts.length, 3);
  place.classList.toggle("has-ranks", parts.length > 3);
  layout.grid = { rows: Math.ceil(parts.length / columns), columns, pattern: "independent", ygap: 0.45 };
  layout.barmode = "overlay";
  layout.legend = { orientation: "h", y: 1.08, yanchor: "bottom" };
  layout.margin.t = 60;
  layout.annotations = [];
  const traces = parts.flatMap((part, index) => {
    const suffix = index ? String(index + 1) : "";
    const layers = rows.filter((row) => row.part === part);
    layout[`xaxis${suffix}`] = { ...axis(""), dtick: layers.length > 12 ? 4 : 1, title: { text: `${plain(part)}, by layer` } };
    layout[`yaxis${suffix}`] = { ...axis(""), rangemode: "tozero" };
    // Few units get a tick each, so that no tick shows a fraction of a unit.
    if (Math.max(...layers.map((row) => row.teacher ?? row.kept)) < 8) layout[`yaxis${suffix}`].dtick = 1;
    const common = { type: "bar", x: layers.map((row) => row.layer), xaxis: `x${suffix}`, yaxis: `y${suffix}`, showlegend: index === 0 };
    // Counted from 1, as layers are.
    const heads = (row, key) => (row[key] ? `<br>heads ${row[key].split(" ").map((head) => plain(Number(head) + 1)).join(" ")}` : "");
    return [
      {
        ...common, name: "teacher", y: layers.map((row) => row.teacher), hovertemplate: "%{text}<extra></extra>",
        text: layers.map((row) => `teacher, layer ${row.layer}: ${row.teacher ?? "?"}${heads(row, "teacher_heads")}`),
        textposition: "none", marker: { color: "rgba(0,0,0,0)", line: { color: colour("--quiet"), width: 1.2 } },
      },
      {
        ...common, name: "kept", y: layers.map((row) => row.kept), hovertemplate: "%{text}<extra></extra>",
        text: layers.map((row) => `layer ${row.layer}: ${row.kept} of ${row.teacher ?? "?"}${heads(row, "kept_heads")}`),
        textposition: "none", marker: { color: colour("--series").split(" ")[0] },
      },
    ];
  });
  Plotly.newPlot(place, traces, layout, WITHOUT_BAR);
}

function showModel(name, details, shared) {
  const expanded = (record) => {
    const recipe = record.settings.arguments;
    return recipe?.shared === undefined ? record : { ...record, settings: { ...record.settings, arguments: shared[recipe.shared] } };
  };
  const dialog = document.getElementById("model");
  document.getElementById("model-name").textContent = name;
  const pictures = Object.entries(details.layers).map(([saved, rows]) => ({ saved, rows, place: element("div", [], {
    class: "plot architecture", role: "img", "aria-label": `Channels, heads, feed-forward widths and ranks that ${saved} kept of each layer`,
  }) }));
  document.getElementById("model-content").replaceChildren(
    ...(pictures.length ? [element("h3", "What is left of each layer")] : []),
    ...pictures.flatMap(({ saved, place }) => [...(pictures.length > 1 ? [element("h4", saved)] : []), place]),
    ...(details.changes || details.not_compared ? [element("h3", "What compression broke"), ...changesOf(details)] : []),
    element("h3", "Records: scores, configuration and provenance"),
    ...details.records.map((record) => folded(`${record.cell.task}, seed ${record.cell.seed}`, expanded(record))),
    ...Object.entries(details.saved).map(([saved, provenance]) => folded(`model ${saved}: provenance`, provenance)),
    folded("configuration of the run", shared[details.config]),
  );
  dialog.showModal();
  dialog.scrollTop = 0;
  for (const { rows, place } of pictures) drawLayers(place, rows);
}
