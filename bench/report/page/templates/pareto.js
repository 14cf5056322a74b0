// The Pareto plot below each leaderboard: the table's scores against its costs.

const MARKERS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "pentagon", "hexagon"];
const WITHOUT_BAR = { displayModeBar: false, responsive: true };

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Plotly reads text as a kind of HTML.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function baseLayout() {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--text"), family: "system-ui, DejaVu Sans, sans-serif" },
    margin: { l: 60, r: 15, t: 15, b: 50 },
    hoverlabel: { align: "left" },
  };
}

function axis(title) {
  return { title: { text: plain(title) }, gridcolor: colour("--line"), linecolor: colour("--quiet"), zeroline: false };
}

// Published costs are rounded: show no more digits than were printed.
function costText(row, cost) {
  const text = row.figures[cost.key].toFixed(cost.decimals);
  return row.is_published ? String(Number(text)) : text;
}

function hoverText(row, cost, score) {
  const spread = row.spreads[score.key];
  const value = row.figures[score.key].toFixed(score.decimals) + (spread === null ? "" : ` ± ${spread.toFixed(score.decimals)}`);
  return [
    `<b>${plain(row.model)}</b>`,
    row.is_published ? "published" : plain(row.compressor === "none" ? "not compressed" : row.compressor),
    `${plain(score.title)}: ${value}`,
    `${plain(cost.title)}: ${costText(row, cost)}`,
  ].join("<br>");
}

function pointTraces(board, positions, cost, score) {
  const colours = colour("--series").split(" ");
  const bySeries = new Map();
  for (const position of positions) {
    const row = board.rows[position];
    const series = row.is_published ? "published" : row.compressor === "none" ? "not compressed" : row.compressor;
    bySeries.set(series, [...(bySeries.get(series) ?? []), position]);
  }
  return [...bySeries].map(([series, members], index) => {
    const rows = members.map((position) => board.rows[position]);
    const spreads = rows.map((row) => row.spreads[score.key]);
    return {
      type: "scatter",
      mode: "markers",
      name: plain(series),
      x: rows.map((row) => row.figures[cost.key]),
      y: rows.map((row) => row.figures[score.key]),
      error_y: { array: spreads.map((spread) => spread ?? 0), visible: spreads.some((spread) => spread !== null), thickness: 1 },
      customdata: members,
      text: rows.map((row) => hoverText(row, cost, score)),
      hovertemplate: "%{text}<extra></extra>",
      // Filter banks lie on the axis.
      cliponaxis: false,
      marker: {
        size: 10,
        color: colours[index % colours.length],
        symbol: MARKERS[index % MARKERS.length] + (series === "published" ? "-open" : ""),
        line: { width: series === "published" ? 2 : 0 },
      },
    };
  });
}

function drawPareto(section, board) {
  const place = section.querySelector(".pareto");
  if (!place) return;
  const cost = board.costs[section.querySelector(".cost").value];
  const score = board.scores[section.querySelector(".score").value];
  const isKnown = (position) => board.rows[position].figures[cost.key] !== null && board.rows[position].figures[score.key] !== null;
  const shown = [...section.querySelectorAll("tbody tr:not([hidden])")].map((row) => Number(row.dataset.row)).sort((a, b) => a - b);
  const lines = board.fronts[`${cost.key} ${score.key}`].map((front) => ({
    type: "scatter",
    mode: "lines",
    name: front.name ? `Pareto front (${plain(front.name)})` : "Pareto front",
    x: front.rows.map((position) => board.rows[position].figures[cost.key]),
    y: front.rows.map((position) => board.rows[position].figures[score.key]),
    hoverinfo: "skip",
    // Steps: the best score available at each cost.
    line: { color: colour("--quiet"), dash: "dot", width: 1.5, shape: "hv" },
  }));
  const layout = baseLayout();
  layout.xaxis = { ...axis(cost.title), rangemode: "tozero" };
  layout.yaxis = axis(`${score.title} ${score.higher_is_better ? "↑" : "↓"}`);
  layout.legend = { orientation: "h", y: 1.02, yanchor: "bottom" };
  layout.margin.t = 50;
  Plotly.react(place, [...lines, ...pointTraces(board, shown.filter(isKnown), cost, score)], layout, WITHOUT_BAR);
}
