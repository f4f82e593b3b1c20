"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const figures = {};

  // Theme: the system's until the reader chooses.
  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const redrawAll = () => Object.values(figures).forEach((figure) => figure.redraw());
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  const narrow = () => innerWidth < 640;

  // Numbers for people.
  const digits = (number, count = 3) => Number(number.toPrecision(count));
  const words = (number) => {
    for (const [size, name] of [[1e12, "trillion"], [1e9, "billion"], [1e6, "million"]]) {
      if (number >= size) return `${digits(number / size)} ${name}`;
    }
    return digits(number).toLocaleString("en");
  };
  const superscript = (text) => text.replace(/-/g, "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  const shown = (number) => {
    if (number === 0) return "0";
    const size = Math.abs(number);
    if (size >= 1e-3 && size < 1e6) return digits(number, 4).toLocaleString("en", { maximumFractionDigits: 6 });
    const [mantissa, exponent] = number.toExponential(3).split("e");
    return `${Number(mantissa)} × 10${superscript(exponent.replace("+", ""))}`;
  };
  const percent = (level) => `${digits(100 * level, 4)} %`;
  const PREFIXES = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "K"], [1, ""]];
  // How compute is written: in teraflop/s-days, or, where that would be tiny, with prefixes.
  function unitOf(values, convention) {
    const day = data.teraflop_s_day;
    if (Math.max(...values) >= 1e-3 * day) {
      return {
        title: "teraflop/s-days", tick: (value) => String(digits(value / day)), base: day,
        text: (value) => `${digits(value / day)} teraflop/s-days`,
      };
    }
    const flop = convention === "paper" ? "" : "FLOP";
    const text = (value) => {
      const [size, prefix] = PREFIXES.find(([least]) => value >= least * 0.9995) ?? [1, ""];
      return `${digits(value / size)} ${prefix}${flop}`.trim();
    };
    return {
      title: flop ? "FLOPs, by XLA's count" : "operations, 3 × MACs × images", base: 1, tick: text, text,
    };
  }

  // Plotly reads a few tags in text; records' names must stay text.
  const inert = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  // A legend of long names would leave no room for the curves.
  const wrapped = (text) =>
    text.match(/.{1,40}(?:\s+|$)|.{1,40}/gs).map((line) => inert(line.trim())).join("<br>");

  // Axes.
  function logTicks(low, high, most) {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const step of steps) {
          const value = step * 10 ** power;
          if (value >= low && value <= high) ticks.push(value);
        }
      }
      if (ticks.length <= most && (ticks.length > 1 || steps.length === 3)) return ticks;
      if (steps.length === 1) return ticks.filter((_, i) => i % Math.ceil(ticks.length / most) === 0);
    }
  }
  function linearTicks(high, most) {
    const step = [1, 2, 5, 10].map((s) => s * 10 ** Math.floor(Math.log10(high / most)))
      .find((s) => high / s <= most);
    return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
  }
  // An axis of compute: its range, in operations, with ticks in the unit.
  function computeAxis(values, unit, logarithmic, most) {
    const [least, greatest] = [Math.min(...values), Math.max(...values)];
    const low = logarithmic ? least / 1.25 : 0;
    const high = logarithmic ? greatest * 1.25 : greatest * 1.06;
    const ticks = logarithmic
      ? logTicks(low / unit.base, high / unit.base, most) : linearTicks(high / unit.base, most);
    return {
      type: logarithmic ? "log" : "linear", low, high,
      range: logarithmic ? [Math.log10(low), Math.log10(high)] : [low, high],
      tickvals: ticks.map((tick) => tick * unit.base),
      ticktext: ticks.map((tick) => (tick === 0 ? "0" : unit.tick(tick * unit.base))),
    };
  }
  function layout(changes) {
    const axis = {
      gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: false,
      fixedrange: true, tickangle: 0, tickfont: { size: narrow() ? 11 : 12 },
    };
    const { xaxis, yaxis, legend, margin, ...rest } = changes;
    const titled = (changed) => (changed?.title ? { ...changed, title: { standoff: 6, font: { size: 13 }, ...changed.title } } : changed);
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      margin: { l: 62, r: 16, t: 34, b: 46, ...margin },
      hoverlabel: { align: "left", bgcolor: colour("panel"), font: { color: colour("ink") } },
      legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { size: 12 }, ...legend },
      dragmode: false,
      ...rest,
      xaxis: { ...axis, ...titled(xaxis) },
      yaxis: { ...axis, ...titled(yaxis) },
    };
  }
  const config = { displayModeBar: false, responsive: false };
  function draw(name, traces, changes) {
    const chart = byId(`${name}-chart`);
    chart.querySelector(".empty")?.remove();
    Plotly.react(chart, traces, layout(changes), config);
  }
  // What nothing can be drawn of is said, where an axis would be of the year 2000.
  function drawNothing(name, text) {
    const chart = byId(`${name}-chart`);
    Plotly.purge(chart);
    chart.replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: text }));
  }

  // Places of labels beside their markers: none over another, over a marker or over a line where
  // there is room; those that go far have a leader.
  function placeLabels(labels, area, segments, size) {
    const context = document.createElement("canvas").getContext("2d");
    context.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
    const overlap = (a, b) =>
      Math.max(0, Math.min(a.r, b.r) - Math.max(a.l, b.l)) * Math.max(0, Math.min(a.b, b.b) - Math.max(a.t, b.t));
    const inside = (box, x, y) => x > box.l && x < box.r && y > box.t && y < box.b;
    const crossed = (box) => segments.filter(([x0, y0, x1, y1]) => {
      for (let k = 0; k <= 40; k++) {
        if (inside(box, x0 + ((x1 - x0) * k) / 40, y0 + ((y1 - y0) * k) / 40)) return true;
      }
      return false;
    }).length;
    const markers = labels.map(({ x, y }) => ({ l: x - 6, r: x + 6, t: y - 6, b: y + 6 }));
    const found = labels.map(() => null);
    const place = (i) => {
      const { x, y, text } = labels[i];
      const width = context.measureText(text).width + 4, height = size + 3;
      let best = null;
      for (const distance of [5, 14, 24, 36, 50, 66]) {
        for (let k = 0; k < 16; k++) {
          const angle = (k * Math.PI) / 8, cos = Math.cos(angle), sin = Math.sin(angle);
          const cx = x + cos * (distance + 4 + width / 2), cy = y + sin * (distance + 4 + height / 2);
          const box = { l: cx - width / 2, r: cx + width / 2, t: cy - height / 2, b: cy + height / 2 };
          if (box.l < area.l || box.r > area.r || box.t < area.t || box.b > area.b) continue;
          let cost = distance / 8 + (Math.abs(sin) === 1 || sin === 0 ? 0 : 0.5);
          found.forEach((other, j) => { if (other && j !== i) cost += overlap(box, other.box); });
          markers.forEach((marker) => { cost += overlap(box, marker); });
          cost += 30 * crossed(box);
          if (!best || cost < best.cost) best = { cost, box, cx, cy, distance };
        }
      }
      found[i] = best;
    };
    // The crowded ones first, then all once more beside the others.
    const crowd = labels.map(({ x, y }) => labels.reduce(
      (sum, other) => sum + 1 / (30 + Math.hypot(other.x - x, other.y - y)), 0));
    const order = labels.map((_, i) => i).sort((a, b) => crowd[b] - crowd[a]);
    for (let pass = 0; pass < 3; pass++) order.forEach(place);
    return found;
  }

  // Downloads.
  function save(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  const saveText = (name, text) => save(name, new Blob([text], { type: "text/csv" }));
  function csvOf(header, rows) {
    const cell = (value) => {
      let text = value === null || value === undefined ? "" : String(value);
      if (/^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
      return /[",\n#]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    return [...header, ...rows.map((row) => row.map(cell).join(","))].join("\n") + "\n";
  }
  async function savePicture(name, file, format, shown) {
    const chart = byId(`${name}-chart`);
    if (!chart.data) return;
    const old = chart.layout, [width, height] = [chart.clientWidth, chart.clientHeight];
    const title = shown.title ?? chart.closest("section").querySelector("h2").textContent;
    const source = `${data.headers[name][0].slice(2)}; numbers and sources in the report.`;
    const wrap = (text, most) => text.match(new RegExp(`.{1,${most}}(?:\\s+|$)|.{1,${most}}`, "gs"))
      .map((line) => inert(line.trim()));
    const lines = wrap(title, Math.floor(width / 9)), notes = wrap(source, Math.floor(width / 6));
    const said = wrap(shown.finding, Math.floor(width / 7));
    const [top, bottom] = [20 * lines.length + 16 * said.length + 12, 14 * notes.length + 8];
    const note = (text, changes) => ({
      text, xref: "paper", yref: "paper", x: 0, xanchor: "left", align: "left", showarrow: false, ...changes,
    });
    const url = await Plotly.toImage({
      data: chart.data,
      layout: {
        ...old, paper_bgcolor: colour("paper"), width, height: height + top + bottom,
        margin: { ...old.margin, t: old.margin.t + top, b: old.margin.b + bottom },
        annotations: [
          ...(old.annotations || []),
          note(`<b>${lines.join("<br>")}</b>`, {
            y: 1, yanchor: "bottom", yshift: old.margin.t + 16 * said.length + 4, xshift: 8 - old.margin.l,
            font: { size: 15 },
          }),
          note(said.join("<br>"), {
            y: 1, yanchor: "bottom", yshift: old.margin.t, xshift: 8 - old.margin.l,
            font: { size: 12, color: colour("soft") },
          }),
          note(notes.join("<br>"), {
            y: 0, yanchor: "top", yshift: 4 - old.margin.b, xshift: 8 - old.margin.l,
            font: { size: 10, color: colour("soft") },
          }),
        ],
      },
    }, { format, width, height: height + top + bottom, scale: format === "png" ? 3 : 1 });
    const [head, body] = [url.slice(0, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
    const bytes = head.endsWith("base64")
      ? Uint8Array.from(atob(body), (character) => character.charCodeAt(0)) : decodeURIComponent(body);
    save(`${file}.${format}`, new Blob([bytes], { type: format === "png" ? "image/png" : "image/svg+xml" }));
  }

  function options(select, entries) {
    const before = select.value;
    select.replaceChildren(
      ...entries.map(([value, text]) => Object.assign(document.createElement("option"), {
        value, textContent: text,
      })),
    );
    if (entries.some(([value]) => value === before)) select.value = before;
  }
  const link = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text, rel: "noreferrer" });
  const isLink = (value) => typeof value === "string" && /^https?:\/\//.test(value);

  // What all figures have: views, downloads, a link to what is shown, and what is drawn of it.
  // `make(form)` returns the file's name, `refill` of options that depend on others, `draw`, which
  // returns what was drawn, and `choices`, which may be picked among.
  function figure(name, make) {
    const element = document.querySelector(`[data-figure="${name}"]`);
    if (!element) return;
    const form = byId(`${name}-controls`), fields = [...form.elements].filter((field) => field.name);
    const { file, refill = () => {}, draw: drawFigure, choices, onReset } = make(form.elements);
    let view = "chart", last, chosen = null, defaults;
    const get = (field) => (field.type === "checkbox" ? String(field.checked) : field.value);
    const set = (field, value) => {
      if (field.type === "checkbox") field.checked = value === "true";
      else if (field.type !== "select-one" || [...field.options].some((o) => o.value === value)) field.value = value;
    };
    const state = () => Object.fromEntries(fields.map((field) => [field.name, get(field)]));
    function fragment(embed) {
      const parameters = new URLSearchParams();
      const now = state();
      for (const key of Object.keys(now)) if (now[key] !== defaults[key]) parameters.append(key, now[key]);
      if (chosen) for (const key of chosen) parameters.append("models", key);
      if (view !== "chart") parameters.append("view", view);
      if (embed) parameters.append("embed", "1");
      const text = String(parameters);
      return `#${name}${text ? `?${text}` : ""}`;
    }
    function links() {
      const page = location.href.split("#")[0];
      byId(`${name}-link`).value = page + fragment(false);
      byId(`${name}-embed`).value =
        `<iframe src="${page}${fragment(true)}" width="100%" height="640" style="border:0" title="jaxeff"></iframe>`;
    }
    function pick() {
      if (!choices) return;
      const { all, standard } = choices();
      const keys = new Set(chosen ?? standard);
      const box = form.querySelector(".choices");
      box.replaceChildren(...all.map(([key, text]) => {
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), {
          type: "checkbox", value: key, checked: keys.has(key), className: "choice",
        });
        label.className = "check";
        label.append(input, ` ${text}`);
        return label;
      }), ...[["all", all.map(([key]) => key)], ["default", null]].map(([text, to]) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, className: "quiet" });
        button.addEventListener("click", () => { chosen = to; pick(); changed(); });
        return button;
      }));
      form.querySelector(".picker .count").textContent =
        `${all.filter(([key]) => keys.has(key)).length} of ${all.length}`;
    }
    const picked = () => {
      if (!choices) return [];
      const { all, standard } = choices();
      return all.map(([key]) => key).filter((key) => (chosen ?? standard).includes(key));
    };
    function show() {
      for (const button of element.querySelectorAll("[data-view]")) {
        button.setAttribute("aria-pressed", String(button.dataset.view === view));
      }
      for (const part of element.querySelectorAll("[data-of]")) part.hidden = part.dataset.of !== view;
    }
    function redraw() {
      last = drawFigure(picked());
      byId(`${name}-finding`).textContent = last.finding;
      byId(`${name}-notes`).replaceChildren(...(last.notes ?? []).map((text) => (
        Object.assign(document.createElement("li"), { textContent: text }))));
      // Columns that all rows have in common stand above, and empty ones say nothing.
      const isKept = last.columns.map((_, i) => i >= (last.common ?? 0) &&
        last.rows.some((cells) => ![null, undefined, ""].includes(cells[i])));
      const row = (cells, tag) => {
        const made = document.createElement("tr");
        cells.filter((_, i) => isKept[i]).forEach((value) => {
          const cell = document.createElement(tag);
          if (value !== null && value !== undefined) cell.dataset.value = value;
          if (isLink(value)) cell.append(link(value, value));
          else cell.textContent = typeof value === "number" ? shown(value) : value === true ? "yes" : value === false ? "" : value ?? "";
          if (typeof value === "number") cell.className = "number";
          else if (String(value ?? "").length > 24) cell.className = "medium";
          if (tag === "th") cell.scope = "col";
          made.append(cell);
        });
        return made;
      };
      byId(`${name}-head`).replaceChildren(row(last.columns, "th"));
      byId(`${name}-rows`).replaceChildren(...last.rows.map((cells) => row(cells, "td")));
      byId(`${name}-sources`).replaceChildren(...last.sources);
      links();
    }
    function changed() {
      redraw();
      // A page on disk may not be allowed to; the link is in its field all the same.
      try { history.replaceState(null, "", fragment(root.dataset.embed === name)); } catch { /* see above */ }
    }
    function apply(parameters) {
      for (const field of fields) {
        set(field, parameters.get(field.name) ?? defaults[field.name]);
        refill();
      }
      const models = parameters.getAll("models");
      chosen = models.length ? models : null;
      view = ["chart", "table", "sources"].find((each) => each === parameters.get("view")) ?? "chart";
      pick();
      show();
      redraw();
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener(name === "effective" ? "input" : "change", (event) => {
      if (event.target.className === "choice") {
        chosen = [...form.querySelectorAll(".choice:checked")].map((input) => input.value);
        const { all } = choices();
        form.querySelector(".picker .count").textContent = `${chosen.length} of ${all.length}`;
      } else {
        if (["group", "data"].includes(event.target.name)) chosen = null;
        refill(event.target);
        pick();
      }
      changed();
    });
    for (const button of element.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => {
        view = button.dataset.view;
        show();
        if (view === "chart") redraw();
        changed();
      });
    }
    byId(`${name}-csv`).addEventListener("click", () => saveText(
      `${file}.csv`, csvOf([...data.headers[name], `# Shown: ${last.finding}`.replace(/\s+/g, " ")], [last.columns, ...last.rows])));
    for (const format of ["png", "svg"]) {
      byId(`${name}-${format}`).addEventListener("click", () => savePicture(name, file, format, last));
    }
    for (const input of element.querySelectorAll(".share input")) input.addEventListener("focus", () => input.select());
    refill();
    defaults = state();
    onReset?.(() => apply(new URLSearchParams()));
    figures[name] = { redraw, apply, element };
    apply(new URLSearchParams());
  }

  // Where numbers are from.
  const paragraph = (...parts) => {
    const made = document.createElement("p");
    made.append(...parts);
    return made;
  };
  const PAPER = () => link("https://arxiv.org/abs/2005.04305", "Hernandez and Brown, arXiv:2005.04305");
  const REPOSITORY = () => link("https://github.com/openai/ai-and-efficiency", "github.com/openai/ai-and-efficiency");
  function sourcesOf(configurations) {
    return configurations.map((configuration) => {
      const name = configuration.url ? link(configuration.url, configuration.name) : configuration.name;
      const commits = [...new Set(configuration.sources.map(([, , commit, version]) => `jaxeff ${version}, commit ${commit}`))];
      const devices = [...new Set(configuration.sources.map((source) => source[4]))];
      const runs = configuration.sources.flatMap(([id, seed], i) => [
        i ? ", " : "", byId(`run-${id}`) ? link(`#run-${id}`, `seed ${seed}`) : `seed ${seed}`,
      ]);
      return paragraph(
        Object.assign(document.createElement("strong"), {}), name,
        ` (${configuration.shipped ? "record of jaxeff" : "your record"}; ${configuration.recipe}): `, ...runs,
        `. ${commits.join("; ")}; ${devices.join("; ")}. `,
        Object.assign(document.createElement("code"), { textContent: configuration.sources[0]?.[5] ?? "" }));
    });
  }

  // Figure 3.
  const frontierOf = (points) => {
    let best = Infinity;
    return [...points]
      .sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : a.compute - b.compute))
      .filter((point) => point.compute < best && ((best = point.compute), true));
  };
  const DAY = 864e5;
  figure("frontier", (form) => {
    const groupOf = () => data.groups.find((group) => group.label === form.data.value);
    const setOf = () => data.published.find((set) => set.label === form.data.value);
    const levelOf = () => setOf().levels.find((level) => level.key === form.level.value);
    const countOf = () => levelOf().counts.find((count) => count.key === form.convention.value);
    // Medians of configurations, with their intervals; the page draws what it is given.
    const ownPoints = (group) => group.configurations.flatMap((configuration) => {
      const at = configuration.at[group.levels.indexOf(Number(form.level.value))];
      if (!at) return [];
      const [compute, low, high] = at[form.convention.value];
      const { name, date, macs, url, runs, remark, shipped } = configuration;
      const source = `${shipped ? "jaxeff's" : "your"} record${runs > 1 ? "s" : ""}: ${runs} run${runs > 1 ? "s" : ""}` +
        (at.missed ? `, ${at.missed} never got there` : "") + (remark ? `; ${remark}` : "");
      return [{
        model: name, date, compute, low, high, epochs: at.epoch, macs, source, url, runs,
        kind: shipped ? "published" : "yours", configuration,
      }];
    });
    function refill() {
      const group = groupOf();
      options(form.level, group
        ? group.levels.map((level) => [String(level), `${percent(level)} ${group.accuracy}`])
        : setOf().levels.map(({ key, label }) => [key, label]));
      options(form.convention, group
        ? [["xla", "XLA's FLOPs"], ["paper", "3 × MACs × images"]]
        : levelOf().counts.map(({ key, label }) => [key, label]));
    }
    function drawFigure() {
      const group = groupOf(), count = group ? null : countOf();
      const all = group ? ownPoints(group) : count.points;
      const arrived = all.filter((point) => point.compute !== null);
      const points = arrived.filter((point) => point.date);
      const undated = arrived.filter((point) => !point.date);
      const best = group ? frontierOf(points) : points.filter((point) => point.best);
      const isBest = new Set(best);
      const unit = unitOf(arrived.length ? arrived.map((point) => point.compute) : [0], form.convention.value);
      const hover = (point) =>
        [
          `<b>${inert(point.model)}</b>`,
          `published ${point.date}`,
          unit.text(point.compute) +
            (point.low ? ` (${unit.text(point.low)} to ${point.high ? unit.text(point.high) : "infinity"})` : ""),
          point.epochs ? `${digits(point.epochs, 4)} epochs` : "",
          point.macs ? `${words(point.macs)} forward multiply-accumulates` : "",
          inert(point.source || ""),
          inert(point.url && point.url !== point.source ? point.url : ""),
        ].filter(Boolean).join("<br>");
      const line = count?.line;
      if (points.length < 2) {
        drawNothing("frontier", points.length
          ? `${points[0].model}, published ${points[0].date}: ${unit.text(points[0].compute)}. One dated model makes no chart by date.`
          : "No dated model reached this level.");
      } else {
        const values = points.flatMap(({ compute, low, high }) => [compute, low, high]).filter(Boolean);
        const y = computeAxis(values, unit, form.logarithmic.checked, narrow() ? 7 : 9);
        const times = points.map((point) => Date.parse(point.date));
        const span = Math.max(...times) - Math.min(...times) || 365 * DAY;
        const x = [Math.min(...times) - 0.07 * span, Math.max(...times) + 0.09 * span];
        const trace = (name, kept, shade, symbol, size, mode = "markers") => ({
          name, mode, x: kept.map((point) => point.date), y: kept.map((point) => point.compute),
          hovertext: kept.map(hover), hoverinfo: "text",
          marker: { color: shade, size, symbol, line: { color: colour("paper"), width: 1 } },
          error_y: {
            type: "data", symmetric: false, color: shade, thickness: 1.3, width: 3,
            visible: kept.some((point) => point.low),
            array: kept.map((point) => (point.high ? point.high - point.compute : 0)),
            arrayminus: kept.map((point) => (point.low ? point.compute - point.low : 0)),
          },
          line: { color: shade, width: 2 }, cliponaxis: false,
        });
        const kinds = (kind) => points.filter((point) => point.kind === kind);
        const others = kinds("published").filter((point) => !isBest.has(point));
        const chart = byId("frontier-chart");
        const margin = { l: 30 + 6.6 * Math.max(...y.ticktext.map((text) => text.length)), r: 20, t: narrow() ? 62 : 34, b: 44 };
        const area = { l: margin.l, r: chart.clientWidth - margin.r, t: margin.t, b: chart.clientHeight - margin.b };
        const scale = (value) => (y.type === "log" ? Math.log10(value) : value);
        const toX = (date) => area.l + ((Date.parse(date) - x[0]) / (x[1] - x[0])) * (area.r - area.l);
        const toY = (value) => area.b - ((scale(value) - y.range[0]) / (y.range[1] - y.range[0])) * (area.b - area.t);
        const labels = points.map((point) => ({ x: toX(point.date), y: toY(point.compute), text: point.model, point }));
        const bySame = new Map(best.map((point, i) => [point, i]));
        const segments = [
          ...best.slice(1).map((point, i) => [toX(best[i].date), toY(best[i].compute), toX(point.date), toY(point.compute)]),
          ...points.filter((point) => point.low).map((point) => [
            toX(point.date), Math.min(area.b, toY(point.low)), toX(point.date), Math.max(area.t, toY(point.high ?? y.high))]),
        ];
        const size = narrow() ? 10 : 11.5;
        const shades = { published: colour("soft"), imported: colour("imported"), yours: colour("warm") };
        const annotations = placeLabels(labels, area, segments, size).map((place, i) => {
          if (!place) return null;
          const { x: px, y: py, text, point } = labels[i];
          return {
            x: point.date, y: scale(point.compute), xref: "x", yref: "y", text: inert(text),
            ax: place.cx - px, ay: place.cy - py, showarrow: true, arrowhead: 0, standoff: 5,
            arrowwidth: 0.8, arrowcolor: place.distance > 14 ? colour("rest") : "rgba(0,0,0,0)",
            font: { size, color: bySame.has(point) && point.kind !== "yours" ? colour("best") : shades[point.kind] },
          };
        }).filter(Boolean);
        draw("frontier", [
          ...(line ? [{
            name: "95 % of the line", legendgroup: "line", showlegend: false, hoverinfo: "skip", mode: "lines",
            x: [...line.dates, ...[...line.dates].reverse()], y: [...line.high, ...[...line.low].reverse()],
            fill: "toself", fillcolor: colour("band"), line: { width: 0 },
          }, {
            name: "fitted line, 95 % band", legendgroup: "line", legendrank: 2000, hoverinfo: "skip", mode: "lines",
            x: line.dates, y: line.compute, line: { color: colour("best"), dash: "dot", width: 1.5 },
          }] : []),
          trace("other models", others, colour("rest"), "circle", 8),
          trace("best of their time", best, colour("best"), "diamond", 10, "lines+markers"),
          ...(kinds("imported").length ? [trace("imported", kinds("imported"), colour("imported"), "square-open", 10)] : []),
          ...(kinds("yours").length ? [trace("yours", kinds("yours"), colour("warm"), "star", 13)] : []),
        ], {
          margin, annotations, showlegend: true,
          xaxis: {
            type: "date", range: x.map((time) => new Date(time).toISOString().slice(0, 10)),
            title: { text: "publication of the architecture", standoff: 4 }, ...(narrow() ? { nticks: 5 } : {}),
          },
          yaxis: { ...y, low: undefined, high: undefined, title: { text: unit.title, standoff: 4 } },
        });
      }
      let finding = count?.finding;
      if (group) {
        finding = group.frontier[group.levels.indexOf(Number(form.level.value))][form.convention.value] ??
          (points.length ? "Nothing published later took less." : "No dated model reached this level.");
        if (points.some((point) => point.low && point.runs < 3)) {
          finding += " One run or two have the error bar that runs of their kind have.";
        }
      }
      const never = all.filter((point) => point.compute === null).map((point) => point.model);
      const model = group ? [] : [...new Map(all.filter((point) => point.url).map((point) => [point.model, point.url]))];
      return {
        finding,
        title: `Compute to ${group ? `${form.level.selectedOptions[0].textContent} on ${group.data}` : `${form.level.selectedOptions[0].textContent} (${form.data.value})`}, by date of publication`,
        notes: [
          ...undated.map((point) => `Undated, and so not in the chart: ${point.model}, ${unit.text(point.compute)}` +
            ` (PUBLISHED = "2026-05-01" in the model's own file dates it).`),
          ...(never.length ? [`Most runs never got there, and so not in the chart: ${never.join(", ")}.`] : []),
        ],
        common: 3,
        columns: ["data", "level", "count", "model", "published", "compute, operations", "95 % from", "to",
          "teraflop/s-days", "epochs", "forward multiply-accumulates", "best of its time", "source", "publication"],
        rows: all.map((point) => [
          form.data.value, form.level.selectedOptions[0].textContent, form.convention.value,
          point.model, point.date ?? "undated", point.compute ?? "inf", point.low ?? null,
          point.low && !point.high ? "inf" : point.high ?? null,
          point.compute === null ? "inf" : point.compute / data.teraflop_s_day,
          point.epochs, point.macs, isBest.has(point), point.source, point.url ?? "",
        ]),
        sources: group ? sourcesOf(all.map((point) => point.configuration)) : [
          paragraph("Epochs, multiply-accumulates and compute: ", PAPER(), "; ", REPOSITORY(),
            ". Recomputed and recounted by jaxeff; the audit below holds each printed number."),
          paragraph("Where the models were introduced: ", ...model.flatMap(([text, url], i) => [i ? ", " : "", link(url, text)]), "."),
        ],
      };
    }
    options(form.data, [
      ...data.published.map(({ label }) => [label, label]),
      ...data.groups.map(({ label }) => [label, `${label}, measured`]),
    ]);
    return { file: "figure3", refill, draw: drawFigure };
  });

  // Colour and symbol together tell many configurations apart.
  const COLOURS = 7;
  const MARKS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x"];
  const shadeOf = (i) => colour(`c${i % COLOURS}`);
  const markOf = (i) => MARKS[(i + Math.floor(i / COLOURS)) % MARKS.length];
  const legendOfMany = () => ({ font: { size: narrow() ? 11 : 12 } });
  // Room above the plot for a legend of so many names.
  const legendRoom = (names) => {
    const each = narrow() ? 2 : 4;
    return 14 + 21 * Math.ceil(names / each);
  };
  const MOST_AT_FIRST = 6;
  // At first: the reader's, the baselines, and those that take the least.
  function choicesOf(group, entries) {
    const ranked = [...entries].sort((a, b) => {
      const rank = (each) => (!each.shipped ? 0 : each.is_base ? 1 : 2);
      return rank(a) - rank(b) || entries.indexOf(b) - entries.indexOf(a);
    });
    return {
      all: entries.map(({ name }) => [name, name]).reverse(),
      standard: ranked.slice(0, MOST_AT_FIRST).map(({ name }) => name),
    };
  }

  // Figure 4.
  // The same run measured in another way: of its averaged weights, or with mirror images.
  const WAYS = {
    "": ["", "solid"], ema_: ["average", "dash"], flip_: ["with flips", "dot"],
    ema_flip_: ["average, with flips", "dashdot"],
  };
  figure("curves", (form) => {
    const groupOf = () => data.groups.find((group) => group.label === form.group.value);
    const drawn = (group) => group.configurations;
    function refill(changed) {
      if (!changed || changed.name === "group") form.metric.value = groupOf().metric === "top1" ? "2" : "3";
      form.metric.disabled = form.show.value === "medians";
    }
    function medians(group, chosen) {
      const kept = chosen.map((name) => drawn(group).find((each) => each.name === name)).filter(Boolean);
      return kept.map((configuration, i) => {
        const points = group.levels
          .map((level, j) => ({ level, at: configuration.at[j]?.[form.convention.value], missed: configuration.at[j]?.missed }))
          .filter(({ at }) => at && at[0] !== null)
          .sort((a, b) => a.level - b.level);
        return { configuration, i, points };
      });
    }
    function drawMedians(group, chosen) {
      const kept = medians(group, chosen).filter(({ points }) => points.length);
      const values = kept.flatMap(({ points }) => points.flatMap(({ at }) => at)).filter(Boolean);
      const unit = unitOf(values, form.convention.value);
      const x = computeAxis(values, unit, form.curves_logarithmic.checked, narrow() ? 4 : 9);
      return [unit, x, kept.flatMap(({ configuration, i, points }) => {
        const known = points.filter(({ at }) => at[1] !== null);
        const shade = shadeOf(i);
        return [
          ...(known.length > 1 ? [{
            x: [...known.map(({ at }) => at[1]), ...known.map(({ at }) => at[2] ?? x.high).reverse()],
            y: [...known.map(({ level }) => 100 * level), ...known.map(({ level }) => 100 * level).reverse()],
            fill: "toself", fillcolor: `${shade}2b`, line: { width: 0 }, mode: "lines", hoverinfo: "skip",
            showlegend: false, legendgroup: String(i), name: configuration.name,
          }] : []),
          {
            name: wrapped(configuration.name), legendgroup: String(i), mode: "lines+markers",
            x: points.map(({ at }) => at[0]), y: points.map(({ level }) => 100 * level),
            hovertext: points.map(({ level, at, missed }) =>
              `<b>${inert(configuration.name)}</b><br>${percent(level)}: ${unit.text(at[0])}` +
              (at[1] === null ? "" : ` (${unit.text(at[1])} to ${at[2] === null ? "infinity" : unit.text(at[2])})`) +
              `<br>median of ${configuration.runs} run${configuration.runs > 1 ? "s" : ""}` +
              (missed ? `, ${missed} never got there` : "")),
            hoverinfo: "text", marker: { symbol: markOf(i), size: 5, color: shade }, line: { color: shade, width: 2 },
          },
        ];
      })];
    }
    function drawRuns(group, chosen) {
      const metric = Number(form.metric.value), column = form.convention.value === "paper" ? 1 : 0;
      const places = new Map(chosen.map((name, i) => [drawn(group).findIndex((each) => each.name === name), i]));
      const runs = group.runs.filter((run) => places.has(run.of));
      const ways = Object.keys(WAYS).filter((way) => !way || runs.some((run) => way in run.ways));
      const named = new Set();
      const kept = runs.flatMap((run) => ways.filter((way) => !way || way in run.ways).map((way) => ({
        run, way, values: way ? run.ways[way].map((point) => point[metric - 2]) : run.curve.map((point) => point[metric]),
        name: way ? `${run.name}, ${WAYS[way][0]}` : run.name,
      })));
      const values = kept.flatMap(({ run }) => run.curve.map((point) => point[column]));
      const unit = unitOf(values.length ? values : [1], form.convention.value);
      const x = computeAxis(values.length ? values : [1, 10], unit, form.curves_logarithmic.checked, narrow() ? 4 : 9);
      const traces = kept.map(({ run, way, values: accuracies, name }) => {
        const i = places.get(run.of), shade = shadeOf(i);
        const showlegend = !way && !named.has(i) && Boolean(named.add(i));
        return {
          name: wrapped(drawn(group)[run.of].name), meta: name, legendgroup: String(i), showlegend,
          x: run.curve.map((point) => point[column]), y: accuracies.map((value) => 100 * value),
          hovertext: run.curve.map((point, j) =>
            `<b>${inert(name)}</b><br>epoch ${point[4]}<br>${(100 * accuracies[j]).toFixed(2)} %<br>${unit.text(point[column])}`),
          hoverinfo: "text", mode: "lines+markers",
          marker: { symbol: markOf(i), size: way ? 3 : 4, color: shade, maxdisplayed: 60 },
          line: { color: shade, width: 1.3, dash: WAYS[way][1] },
        };
      });
      return [unit, x, traces, ways, kept];
    }
    function drawFigure(chosen) {
      const group = groupOf(), byRun = form.show.value === "runs";
      const [unit, x, traces, ways = [], kept = []] = (byRun ? drawRuns : drawMedians)(group, chosen);
      const own = !byRun || group.metric === (form.metric.value === "2" ? "top1" : "top5");
      if (!traces.length) drawNothing("curves", "No model is chosen, or none that is has reached an accuracy.");
      else {
        draw("curves", traces, {
          showlegend: true,
          margin: { t: legendRoom(new Set(traces.map((trace) => trace.legendgroup)).size), b: 48, l: 52 },
          xaxis: { ...x, low: undefined, high: undefined, title: { text: `training compute, ${unit.title}` } },
          yaxis: { title: { text: byRun ? "accuracy, %" : `level, % ${group.accuracy}` }, range: [byRun ? 0 : Math.max(0, Math.min(...traces.flatMap(({ y }) => y)) - 8), 101] },
          shapes: own ? [{
            type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * group.level, y1: 100 * group.level,
            line: { color: colour("soft"), dash: "dot", width: 1 },
          }] : [],
          annotations: own ? [{
            xref: "paper", x: 0.005, xanchor: "left", y: 100 * group.level, yanchor: "bottom", showarrow: false,
            text: `target: ${inert(group.level_text)}`, font: { size: 11, color: colour("soft") },
          }] : [],
          legend: legendOfMany(),
        });
      }
      const said = [
        `${group.reached} of ${group.over} runs reached ${group.level_text}` +
          (group.not_over ? `, ${group.not_over} more not over` : ""),
      ];
      const least = group.configurations
        .filter(({ at }) => at[0] && at[0][form.convention.value][0] !== null)
        .sort((a, b) => a.at[0][form.convention.value][0] - b.at[0][form.convention.value][0])[0];
      if (least) {
        const [value, low, high] = least.at[0][form.convention.value];
        said.push(
          `${least.name} took the least, ${unit.text(value)}` +
          (low === null ? "" : ` (95 %: ${unit.text(low)} to ${high === null ? "infinity" : unit.text(high)})`) +
          (least.runs > 1 ? `, the median of ${least.runs} runs` : ", one run"));
      }
      const more = ways.filter(Boolean).map((way) => `${WAYS[way][0]} (${WAYS[way][1]})`);
      if (more.length) said.push(`broken lines are the same runs measured otherwise: ${more.join(", ")}`);
      if (byRun && group.left_out) {
        said.push(`the ${group.runs.length} runs with the least compute can be drawn, ${group.left_out} more are in the tables`);
      }
      const shownHere = {
        finding: `${said.join("; ")}.`, common: 1,
        sources: sourcesOf(chosen.map((name) => drawn(group).find((each) => each.name === name)).filter(Boolean)),
      };
      if (byRun) {
        return {
          ...shownHere,
          columns: ["data and level", "run", "XLA FLOPs", "3 x MACs x images", "accuracy", "value", "epoch"],
          rows: kept.flatMap(({ run, name, values }) => run.curve.map((point, j) => [
            group.label, name, point[0], point[1], form.metric.selectedOptions[0].textContent, values[j], point[4]])),
        };
      }
      return {
        ...shownHere,
        columns: ["data and level", "configuration", "accuracy", "level", "count", "median compute, operations", "95 % from", "to", "runs", "never got there"],
        rows: medians(group, chosen).flatMap(({ configuration, points }) => points.map(({ level, at, missed }) => [
          group.label, configuration.name, group.accuracy, level, form.convention.value, at[0], at[1],
          at[1] !== null && at[2] === null ? "inf" : at[2], configuration.runs, missed])),
      };
    }
    options(form.group, data.groups.map(({ label }) => [label, label]));
    return {
      file: "figure4", refill, draw: drawFigure,
      choices: () => choicesOf(groupOf(), groupOf().configurations),
    };
  });

  figure("factor", (form) => {
    const groups = data.groups.filter((group) => group.factors.length);
    const groupOf = () => groups.find((group) => group.label === form.group.value);
    // As measured.interval_text says it.
    const textOf = ({ low, high, runs }, j) => (low[j] === null ? `${runs}: no interval below three seeds`
      : `95 %: ${digits(low[j])} to ${high[j] === null ? "infinity" : digits(high[j])}; ${runs}`);
    const entries = () => groupOf().factors.map((factor) => ({ ...groupOf().configurations[factor.of], ...factor, is_base: false }));
    function drawFigure(names) {
      const group = groupOf();
      const chosen = names.map((name) => entries().find((each) => each.name === name)).filter(Boolean)
        .map((each, i) => ({ ...each, i, text: each.levels.map((_, j) => textOf(each, j)) }));
      const bases = [...new Set(chosen.map(({ base }) => base))].join(" or ");
      const numbers = chosen.flatMap(({ factor, low, high }) => [...factor, ...low, ...high]).filter((number) => number);
      const range = [Math.min(1, ...numbers) / 1.15, Math.max(1, ...numbers) * 1.15];
      const traces = chosen.flatMap(({ name, runs, levels, factor, low, high, text, base, i }) => {
        const shade = shadeOf(i), x = levels.map((level) => 100 * level);
        const known = levels.map((_, j) => j).filter((j) => low[j] !== null);
        // What nothing bounds is drawn to the end of the axis.
        const top = known.map((j) => high[j] ?? range[1] * 10);
        const bottom = known.map((j) => low[j] || range[0] / 10);
        const band = {
          x: [...known.map((j) => x[j]), ...known.map((j) => x[j]).reverse()],
          y: [...top, ...bottom.reverse()],
          fill: "toself", fillcolor: `${shade}26`, line: { width: 0 }, mode: "lines",
          hoverinfo: "skip", showlegend: false, legendgroup: String(i), name,
        };
        const line = {
          name: wrapped(name), meta: runs, x, y: factor, legendgroup: String(i), mode: "lines+markers",
          hovertext: factor.map((value, j) =>
            `<b>${inert(name)}</b><br>${percent(levels[j])}: ${digits(value)} times less than ${inert(base)}` +
            `<br>${inert(text[j])}`),
          hoverinfo: "text",
          marker: { symbol: markOf(i), size: 5, color: shade }, line: { color: shade, width: 2 },
        };
        return known.length > 1 ? [band, line] : [line];
      });
      const rule = (changes) => ({
        type: "line", line: { color: colour("soft"), dash: "dot", width: 1 }, ...changes,
      });
      const ticks = logTicks(range[0], range[1], 10);
      if (!traces.length) drawNothing("factor", "No model is chosen.");
      else draw("factor", traces, {
        showlegend: true, margin: { t: legendRoom(chosen.length), l: 66 },
        xaxis: { title: { text: `level, % ${group.accuracy}` } },
        yaxis: {
          type: "log", range: range.map(Math.log10), tickvals: ticks, ticktext: ticks.map((tick) => `${digits(tick)} ×`),
          title: { text: `times less than ${inert(bases)}`, standoff: 4 },
        },
        legend: legendOfMany(),
        shapes: [
          rule({ xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1 }),
          rule({ yref: "paper", y0: 0, y1: 1, x0: 100 * group.level, x1: 100 * group.level }),
        ],
      });
      const sentence = ({ name, levels, factor, text, base }) => {
        const at = levels.indexOf(group.level);
        const ends = [Math.min(...factor), Math.max(...factor)].map((end) => digits(end)).join(" and ");
        return (at < 0 ? `${name}: no factor at the target` :
          `${name} at ${percent(group.level)}: ${digits(factor[at])} times less than ${base} (${text[at]})`) +
          `; from ${percent(levels[0])} to ${percent(levels[levels.length - 1])} between ${ends}.`;
      };
      return {
        finding: chosen.length > 3
          ? `${chosen.length} configurations beside ${bases}. The one with the least compute: ${sentence(chosen[0])}`
          : chosen.map(sentence).join(" "),
        common: 2,
        columns: ["data", "accuracy", "level", "from", "to", "factor", "95 % from", "to (95 %)", "runs"],
        rows: chosen.flatMap(({ name, levels, factor, low, high, runs, base }) => levels.map((level, j) => [
          group.data, group.accuracy, level, base, name, factor[j], low[j],
          low[j] === null ? null : high[j] ?? "inf", runs,
        ])),
        sources: sourcesOf(chosen),
      };
    }
    options(form.group, groups.map(({ label }) => [label, label]));
    return { file: "factor_by_level", draw: drawFigure, choices: () => choicesOf(groupOf(), entries()) };
  });

  // Figure 2.
  figure("schedule", (form) => {
    const epochs = Array.from({ length: 181 }, (_, i) => i / 2);
    const smooth = epochs.map((epoch) => 0.1 * 1000 ** (-epoch / 90));
    const steps = epochs.map((epoch) => 0.1 * 0.1 ** Math.min(2, Math.floor(epoch / 30)));
    const kinds = () => [["smooth", "smooth (the paper)", colour("best"), "solid"], ["steps", "in steps", colour("warm"), "dash"]];
    function drawFormulas() {
      const ticks = [1e-4, 1e-3, 1e-2, 1e-1];
      draw("schedule", kinds().map(([kind, name, shade, dash]) => ({
        name, x: epochs, y: kind === "smooth" ? smooth : steps, mode: "lines",
        line: { color: shade, dash, width: 2.5, shape: "hv" },
        hovertemplate: "epoch %{x}: %{y:.2g}<extra></extra>",
      })), {
        xaxis: { title: { text: "epoch" }, dtick: 15 },
        yaxis: { type: "log", tickvals: ticks, ticktext: ticks.map(String), title: { text: "learning rate" } },
        showlegend: true,
      });
      return {
        finding: "Formulas of the two schedules, not a measurement: the smooth one falls from 0.1 to 0.0001 over 90 epochs, the other to a tenth at epochs 30 and 60.",
        columns: ["epoch", "smooth", "steps"],
        rows: epochs.map((epoch, i) => [epoch, smooth[i], steps[i]]),
        sources: [paragraph("The recipes paper and paper_step of jaxeff, after ", PAPER(), ", Section 3.3.")],
      };
    }
    function drawPair(pair) {
      draw("schedule", kinds().flatMap(([kind, name, shade, dash], i) => {
        const points = pair[kind];
        return [{
          x: [...points.map(([epoch]) => epoch), ...points.map(([epoch]) => epoch).reverse()],
          y: [...points.map((point) => 100 * point[2]), ...points.map((point) => 100 * point[3]).reverse()],
          fill: "toself", fillcolor: `${shade}2b`, line: { width: 0 }, mode: "lines", hoverinfo: "skip",
          showlegend: false, legendgroup: String(i), name,
        }, {
          name, legendgroup: String(i), mode: "lines", x: points.map(([epoch]) => epoch), y: points.map((point) => 100 * point[1]),
          line: { color: shade, dash, width: 2 }, hovertemplate: "epoch %{x}: %{y:.2f} %<extra></extra>",
        }];
      }), {
        showlegend: true,
        xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: `accuracy, % ${pair.accuracy}` } },
        shapes: [{
          type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * pair.level, y1: 100 * pair.level,
          line: { color: colour("soft"), dash: "dot", width: 1 },
        }],
      });
      return {
        finding: `${pair.finding} Lines are medians over runs, bands go from the least to the greatest, the dotted line is the level.`,
        columns: ["schedule", "epoch", "median accuracy", "least", "greatest"],
        rows: ["smooth", "steps"].flatMap((kind) => pair[kind].map((point) => [kind, ...point])),
        sources: [paragraph("The records of both recipes, in the table “Every record”.")],
      };
    }
    options(form.pair, [
      ...data.schedules.map((pair, i) => [String(i), pair.label]), ["formulas", "the two formulas"],
    ]);
    return {
      file: "figure2",
      draw: () => (form.pair.value === "formulas" ? drawFormulas() : drawPair(data.schedules[Number(form.pair.value)])),
    };
  });

  // Figure 5.
  figure("effective", (form) => {
    const logarithmic = new Set(["compute_growth", "algorithms"]);
    const names = ["compute_growth", "algorithms", "years", "hardware_doubling_months"];
    const inputs = { ...data.effective };
    const toSlider = (name, value) => (logarithmic.has(name) ? Math.log10(value) : value);
    const initial = {};
    for (const name of names) {
      const value = toSlider(name, inputs[name]);
      form[name].min = Math.min(form[name].min, Math.floor(value));
      form[name].max = Math.max(form[name].max, Math.ceil(value));
      form[name].value = value;
      initial[name] = form[name].value;
    }
    function drawFigure() {
      for (const name of names) {
        const value = Number(form[name].value);
        // What the report was made with stays exact until its slider is moved.
        inputs[name] = form[name].value === initial[name] ? data.effective[name]
          : logarithmic.has(name) ? 10 ** value : value;
      }
      const hardware = 2 ** ((12 * inputs.years) / inputs.hardware_doubling_months);
      const spending = inputs.compute_growth / hardware;
      const total = inputs.compute_growth * inputs.algorithms;
      const texts = {
        compute_growth: `${words(inputs.compute_growth)} times`,
        algorithms: `${words(inputs.algorithms)} times`,
        years: `${inputs.years}`,
        hardware_doubling_months: `${inputs.hardware_doubling_months} months`,
      };
      for (const name of names) {
        form[`${name}_text`].textContent = texts[name];
        form[name].setAttribute("aria-valuetext", texts[name]);
      }
      const parts = [
        ["hardware", 1, hardware], ["spending", hardware, spending],
        ["algorithms", inputs.compute_growth, inputs.algorithms], ["effective<br>compute", 1, total],
      ];
      // A bar on a logarithmic axis from its start to start x factor: drawn in powers of ten.
      const log = Math.log10;
      const highest = Math.ceil(Math.max(1, log(total), log(inputs.compute_growth), log(hardware)));
      const lowest = Math.floor(Math.min(0, log(total), log(inputs.compute_growth)));
      const ticks = Array.from({ length: highest - lowest + 2 }, (_, i) => lowest + i);
      draw("effective", [{
        type: "bar",
        x: parts.map(([name]) => name),
        base: parts.map(([, start]) => log(start)),
        y: parts.map(([, , factor]) => log(factor)),
        text: parts.map(([, , factor]) => `${words(factor)} ×`),
        textposition: "outside", constraintext: "none", textfont: { size: narrow() ? 11 : 13 },
        cliponaxis: false,
        hoverinfo: "x+text",
        marker: {
          color: [colour("rest"), colour("warm"), colour("best"), colour("imported")],
          pattern: { shape: ["", "/", ".", "x"] },
        },
      }], {
        showlegend: false, margin: { l: 88, t: 12, b: 50 },
        yaxis: {
          title: { text: "growth, times", standoff: 4 }, range: [lowest, highest + 0.6], tickvals: ticks,
          ticktext: ticks.map((power) => words(10 ** power)),
        },
      });
      return {
        finding: `${words(hardware)} (hardware) × ${words(spending)} (spending) × ` +
          `${words(inputs.algorithms)} (algorithms) = ${words(total)} times`,
        columns: ["quantity", "value"],
        rows: [["hardware", hardware], ["spending", spending], ["algorithms", inputs.algorithms],
               ["effective compute", total], ...names.map((name) => [name, inputs[name]])],
        sources: [paragraph("Growth of the largest trainings: ",
          link("https://openai.com/index/ai-and-compute/", "Amodei and Hernandez, AI and Compute (2018)"),
          "; the factor of algorithms: ", PAPER(), ", AlexNet to ShuffleNet v2.")],
      };
    }
    return {
      file: "figure5", draw: drawFigure,
      onReset: (reset) => byId("effective-reset").addEventListener("click", reset),
    };
  });

  // Tables.
  function sorting() {
    const key = (cell) => cell.dataset.value ?? cell.textContent.trim();
    const number = (text) => (text === "inf" ? Infinity : Number(text));
    const compare = (a, b) => {
      const [x, y] = [number(a), number(b)];
      if (x === y) return 0;
      return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    };
    for (const table of document.querySelectorAll("table[data-name]:not(.matrix)")) {
      const heads = [...table.tHead.rows[0].cells];
      heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
        // Empty cells stay last either way.
        rows.sort(([a], [b]) => (a === "") - (b === "") || (up ? compare(a, b) : compare(b, a)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      }));
    }
    for (const button of document.querySelectorAll(".download[data-table]")) {
      button.addEventListener("click", () => saveText(
        `${button.dataset.table}.csv`, data.csv[button.dataset.table]));
    }
    // A heading of the audit goes with its last entry.
    const headings = () => {
      for (const body of document.querySelectorAll(".audit tbody")) {
        body.hidden = !body.querySelector("[data-verdict]:not([hidden])");
      }
    };
    for (const box of document.querySelectorAll(".verdict")) {
      box.addEventListener("change", () => {
        for (const row of document.querySelectorAll("[data-verdict]")) {
          if (row.dataset.verdict === box.value) row.hidden = !box.checked;
        }
        headings();
      });
    }
    headings();
  }
  sorting();

  // A fragment is a figure with its settings, or a place, which may lie in a closed part.
  function go() {
    const [name, settings] = location.hash.slice(1).split("?");
    const parameters = new URLSearchParams(settings ?? "");
    const chosen = figures[name];
    if (chosen && settings !== undefined) {
      if (parameters.get("embed") === "1") {
        root.dataset.embed = name;
        chosen.element.closest("section").classList.add("embedded");
      }
      chosen.apply(parameters);
      chosen.element.scrollIntoView({ block: "nearest" });
    } else if (name.startsWith("run-") && byId(name)) {
      byId(name).closest("details").open = true;
      byId(name).scrollIntoView({ block: "center" });
    }
  }
  addEventListener("hashchange", go);
  go();
  addEventListener("resize", redrawAll);
  root.dataset.ready = "yes";
})();
