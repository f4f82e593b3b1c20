"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const redraws = [];

  // Theme: the system's until the reader chooses.
  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const redrawAll = () => redraws.forEach((redraw) => redraw());
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

  // Numbers for people.
  const words = (number) => {
    for (const [size, name] of [[1e12, "trillion"], [1e9, "billion"], [1e6, "million"]]) {
      if (number >= size) return `${Number((number / size).toPrecision(3))} ${name}`;
    }
    return Number(number.toPrecision(3)).toLocaleString("en");
  };
  const days = (operations) => {
    const number = operations / data.teraflop_s_day;
    return number < 1e-3 ? number.toExponential(3) : Number(number.toPrecision(4));
  };

  // Plotly reads a few tags in text; records' names must stay text.
  const inert = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // A legend of long names would leave no room for the curves.
  const wrapped = (text) =>
    text.match(/.{1,40}(?:\s+|$)|.{1,40}/gs).map((line) => inert(line.trim())).join("<br>");

  // As figures.readable does: ShuffleNet_v2_1_5x is ShuffleNet v2 1.5x.
  const readable = (model) =>
    model.replace(/(?<=v\d)_(?=\d+$)|(?<=_\d)_(?=\d+x)/g, ".").replace(/_/g, " ");
  const narrow = () => innerWidth < 640;
  function layout(changes) {
    const axis = {
      gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true,
    };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      margin: { l: 10, r: 10, t: 10, b: 10 },
      hoverlabel: { align: "left", bgcolor: colour("panel"), font: { color: colour("ink") } },
      legend: { orientation: "h", y: narrow() ? -0.36 : -0.22, yanchor: "top" },
      dragmode: false,
      ...changes,
      xaxis: { ...axis, ...changes.xaxis },
      yaxis: { ...axis, ...changes.yaxis },
    };
  }
  const draw = (id, traces, changes) =>
    Plotly.react(byId(id), traces, layout(changes), { displayModeBar: false, responsive: true });

  function download(name, rows) {
    const cell = (value) => {
      let text = value === null || value === undefined ? "" : String(value);
      if (/^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
      return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    const text = rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
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

  // Figure 3.
  const IMAGENET = "imagenet";
  const frontierOf = (points) => {
    let best = Infinity;
    return [...points]
      .sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : a.compute - b.compute))
      .filter((point) => point.compute < best && ((best = point.compute), true));
  };
  // An infinite end is none: of a level that runs missed, nothing bounds the number.
  const interval = (ends, show) =>
    ends[0] === null ? "" : ` (${show(ends[0])} to ${ends[1] === null ? "infinity" : show(ends[1])})`;

  // Ticks of a logarithmic axis: at 1, 2 and 5 where powers of ten alone would be one or two.
  const decades = (points) => {
    const ends = points.flatMap(({ compute, low, high }) => [compute, low, high]).filter(Boolean);
    return Math.max(...ends) < 100 * Math.min(...ends) ? "D2" : 1;
  };

  function frontierChart() {
    const form = byId("frontier-controls").elements;
    // Medians of configurations, with their intervals; the page draws what it is given.
    const ownPoints = () => {
      const group = data.groups[Number(form.data.value)];
      const level = Number(form.level.value);
      return group.configurations.flatMap((configuration) => {
        const at = configuration.at[level];
        if (!at) return [];
        const [compute, low, high] = at[form.convention.value];
        const { name, date, macs, url, runs, remark } = configuration;
        const source = `record${runs > 1 ? "s" : ""}: ${runs} run${runs > 1 ? "s" : ""}` +
          (at.missed ? `, ${at.missed} never got there` : "") + (remark ? `; ${remark}` : "");
        return [{ model: name, date, compute, low, high, epochs: at.epoch[0], macs, source, kind: "record", url, runs }];
      });
    };
    const publishedPoints = () => {
      const level = form.level.value;
      const imported = data.imported
        .filter((point) => point.level === level)
        .map((point) => ({ ...point, kind: "imported" }));
      if (level === "AlexNet" && form.convention.value !== "table") {
        const points = data.conventions[form.convention.value].points;
        return form.convention.value === "printed" ? [...points, ...imported] : points;
      }
      return [...data.published.filter((point) => point.level === level), ...imported];
    };
    function refill() {
      if (form.data.value === IMAGENET) {
        const names = new Set([...data.published, ...data.imported].map((point) => point.level));
        options(form.level, [...names].map((name) => [
          name, { AlexNet: "AlexNet's, 79.1 % top-5", "ResNet-50": "ResNet-50's, 92.9 % top-5" }[name] || name,
        ]));
        options(form.convention, form.level.value === "AlexNet"
          ? [...Object.entries(data.conventions).map(([key, value]) => [key, value.label]),
             ["table", "published table"]]
          : [["table", "published table"]]);
      } else {
        const group = data.groups[Number(form.data.value)];
        options(form.level, group.levels.map((level, i) => [
          String(i), `${Number((100 * level).toPrecision(4))} % ${group.accuracy}`,
        ]));
        options(form.convention, [["xla", "XLA's FLOPs"], ["paper", "3 × MACs × images"]]);
      }
    }
    function redraw() {
      const all = form.data.value === IMAGENET ? publishedPoints() : ownPoints();
      const arrived = all.filter((point) => point.compute !== null);
      const points = arrived.filter((point) => point.date);
      const undated = arrived.filter((point) => !point.date);
      const best = frontierOf(points);
      const isBest = new Set(best);
      const rest = points.filter((point) => !isBest.has(point));
      const hover = (point) =>
        [
          `<b>${inert(point.model)}</b>`,
          `published ${point.date}`,
          `${days(point.compute)} teraflop/s-days` +
            interval([point.low ?? null, point.high ?? null], days),
          point.epochs ? `${Number(point.epochs.toPrecision(4))} epochs` : "",
          point.macs ? `${words(point.macs)} forward multiply-accumulates` : "",
          inert(point.source || ""),
          inert(point.url || ""),
        ].filter(Boolean).join("<br>");
      const symbols = { record: "star", imported: "square-open" };
      const trace = (name, shown, shade, symbol, size, lines) => ({
        name,
        x: shown.map((point) => point.date),
        y: shown.map((point) => point.compute / data.teraflop_s_day),
        text: shown.map((point) => (narrow() && !lines ? "" : inert(readable(point.model)))),
        hovertext: shown.map(hover),
        hoverinfo: "text",
        mode: (lines ? "lines+" : "") + "markers" + (lines && !narrow() ? "+text" : ""),
        // Beside an error bar, and off the line, which falls.
        textposition: shown.some((point) => point.low)
          ? shown.map((_, i) => (lines && i === shown.length - 1 ? "bottom left" : "top right"))
          : "bottom center",
        textfont: { size: 11, color: shade },
        marker: {
          color: shade, size, symbol: shown.map((point) => symbols[point.kind] || symbol),
          line: { color: colour("paper"), width: 1 },
        },
        error_y: {
          type: "data", symmetric: false, color: shade, thickness: 1.3, width: 4,
          visible: shown.some((point) => point.low),
          array: shown.map((point) => (point.high ? (point.high - point.compute) / data.teraflop_s_day : 0)),
          arrayminus: shown.map((point) => (point.low ? (point.compute - point.low) / data.teraflop_s_day : 0)),
        },
        line: { color: shade, width: 2 },
        cliponaxis: false,
      });
      // Without a date the axis would be of the year 2000, and empty.
      byId("frontier-chart").hidden = !points.length;
      if (points.length) draw("frontier-chart", [
        trace("other models", rest, colour("rest"), "circle", 9, false),
        trace("best of their time", best, colour("best"), "diamond", 11, true),
      ], {
        xaxis: { type: "date", title: { text: "publication of the architecture" } },
        yaxis: {
          type: form.logarithmic.checked ? "log" : "linear", title: { text: "teraflop/s-days" },
          ...(form.logarithmic.checked ? { dtick: decades(points) } : { rangemode: "tozero" }),
          exponentformat: "power",
        },
      });
      const finding = byId("frontier-finding");
      if (form.data.value !== IMAGENET) {
        const group = data.groups[Number(form.data.value)];
        finding.textContent = group.frontier[Number(form.level.value)][form.convention.value] ??
          (points.length ? "Nothing published later took less." : "No dated model reached this level.");
        if (points.some((point) => point.low && point.runs < 3)) {
          finding.textContent += " One run or two have the error bar that runs of their kind have.";
        }
      } else if (best.length > 1) {
        const first = best[0], last = best[best.length - 1];
        const years = (new Date(last.date) - new Date(first.date)) / (365.25 * 864e5);
        const factor = first.compute / last.compute;
        finding.textContent =
          `${first.model} to ${last.model}: ${factor.toFixed(1)} times less in ` +
          `${years.toFixed(1)} years, a doubling every ` +
          `${((12 * years) / Math.log2(factor)).toFixed(1)} months end to end; Moore's law would ` +
          `give ${(2 ** ((12 * years) / data.moore_months)).toFixed(1)} times.`;
      } else {
        finding.textContent = points.length
          ? "Nothing published later took less." : "No dated model reached this level.";
      }
      if (undated.length) {
        const names = [...new Set(undated.map((point) => point.model))].join(", ");
        finding.textContent +=
          ` Undated, and so in the table alone: ${names} (PUBLISHED = "2026-05-01" in the model's ` +
          `own file dates it).`;
      }
      byId("frontier-rows").replaceChildren(...all.map((point) => {
        const row = document.createElement("tr");
        for (const value of [
          point.model, point.date ?? "undated",
          point.compute === null ? "never" : days(point.compute),
          point.low ? days(point.low) : "",
          point.high ? days(point.high) : "",
          point.epochs ? Number(point.epochs.toPrecision(4)) : "", point.macs ?? "",
          isBest.has(point) ? "yes" : "", point.source || "",
        ]) row.append(Object.assign(document.createElement("td"), { textContent: value }));
        if (point.url) {
          const link = Object.assign(document.createElement("a"), {
            href: point.url, textContent: point.model, rel: "noreferrer",
          });
          row.firstChild.replaceChildren(link);
        }
        return row;
      }));
      return all.map((point) => [
        form.data.selectedOptions[0].textContent, form.level.selectedOptions[0].textContent,
        form.convention.value,
        point.model, point.date ?? "undated", point.compute ?? "inf", point.low, point.high,
        point.epochs, point.macs, isBest.has(point), point.source, point.url,
      ]);
    }
    options(form.data, [
      [IMAGENET, "ImageNet, published"],
      ...data.groups.map((group, i) => [String(i), `${group.label} (records)`]),
    ]);
    refill();
    form.data.form.addEventListener("change", () => { refill(); redraw(); });
    byId("frontier-controls").addEventListener("submit", (event) => event.preventDefault());
    byId("frontier-download").addEventListener("click", () => download("figure3", [
      ["data", "level", "convention", "model", "published", "compute, operations",
       "compute, 95 % from", "compute, to", "epochs",
       "forward multiply-accumulates", "best of its time", "source", "publication"],
      ...redraw(),
    ]));
    redraws.push(redraw);
    redraw();
  }

  const legendOfMany = () => (narrow()
    ? { orientation: "h", y: -0.3, yanchor: "top", font: { size: 10 } }
    : { x: 1.02, y: 1, font: { size: 11 } });

  // Figure 4.
  const CYCLE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a8a8a"];
  const MARKS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x"];
  // The same run measured in another way: of its averaged weights, or with mirror images.
  const WAYS = {
    "": ["", "solid"], ema_: ["average", "dash"], flip_: ["with flips", "dot"],
    ema_flip_: ["average, with flips", "dashdot"],
  };
  function curvesChart() {
    if (!data.groups.length) return;
    const form = byId("curves-controls").elements;
    function redraw() {
      const group = data.groups[Number(form.group.value)];
      const metric = Number(form.metric.value), column = Number(form.convention.value);
      const ways = Object.keys(WAYS).filter(
        (way) => !way || group.runs.some((run) => way in run.ways));
      const drawn = group.runs.flatMap((run, i) => ways.map((way) => ({ run, i, way })))
        .filter(({ run, way }) => !way || way in run.ways)
        .map(({ run, i, way }) => ({
          run, i, way, values: way ? run.ways[way].map((point) => point[metric - 2])
            : run.curve.map((point) => point[metric]),
          name: way ? `${run.name}, ${WAYS[way][0]}` : run.name,
        }));
      const traces = drawn.map(({ run, i, way, values, name }) => ({
        name: wrapped(name),
        legendgroup: String(i),
        showlegend: !way,
        x: run.curve.map((point) => point[column] / data.teraflop_s_day),
        y: values.map((value) => 100 * value),
        hovertext: run.curve.map((point, j) =>
          `<b>${inert(name)}</b><br>${run.date ? `published ${run.date}` : "undated"}` +
          `<br>epoch ${point[4]}<br>${(100 * values[j]).toFixed(2)} %` +
          `<br>${days(point[column])} teraflop/s-days`),
        hoverinfo: "text",
        mode: "lines+markers",
        // Colour and symbol together tell 49 runs apart.
        marker: {
          symbol: MARKS[(i + Math.floor(i / 7)) % 7], size: way ? 4 : 6, color: CYCLE[i % 7],
          maxdisplayed: 60,
        },
        line: { color: CYCLE[i % 7], width: way ? 1.4 : 1.8, dash: WAYS[way][1] },
      }));
      const own = group.metric === (metric === 2 ? "top1" : "top5");
      draw("curves-chart", traces, {
        showlegend: true,
        xaxis: {
          type: form.curves_logarithmic.checked ? "log" : "linear", exponentformat: "power",
          ...(form.curves_logarithmic.checked ? { dtick: 1 } : {}),
          title: { text: "training compute, teraflop/s-days" },
        },
        yaxis: { title: { text: `accuracy, %` }, range: [0, 101] },
        shapes: own ? [{
          type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * group.level, y1: 100 * group.level,
          line: { color: colour("soft"), dash: "dot", width: 1 },
        }] : [],
        legend: legendOfMany(),
      });
      const said = [
        `${group.reached} of ${group.over} runs reached ${group.level_text}` +
          (group.not_over ? `, ${group.not_over} more not over` : ""),
      ];
      const unit = column ? "paper" : "xla";
      const least = group.configurations
        .filter(({ at }) => at[0] && at[0][unit][0] !== null)
        .sort((a, b) => a.at[0][unit][0] - b.at[0][unit][0])[0];
      if (least) {
        const [value, ...ends] = least.at[0][unit];
        said.push(
          `${least.name} took the least, ${days(value)} teraflop/s-days${interval(ends, days)}, ` +
          (least.runs > 1 ? `the median of ${least.runs} runs` : "one run"));
      }
      const more = ways.filter(Boolean).map((way) => `${WAYS[way][0]} (${WAYS[way][1]})`);
      if (more.length) said.push(`broken lines are the same runs measured otherwise: ${more.join(", ")}`);
      if (group.left_out) {
        said.push(`the ${group.runs.length} with the least compute are drawn, ` +
          `${group.left_out} more are in the tables`);
      }
      byId("curves-finding").textContent = `${said.join("; ")}.`;
      return drawn.flatMap(({ run, name, values }) => run.curve.map(
        (point, j) => [group.label, name, point[0], point[1], form.metric.selectedOptions[0].textContent, values[j], point[4]]));
    }
    options(form.group, data.groups.map((group, i) => [String(i), group.label]));
    form.metric.value = data.groups[0].metric === "top1" ? "2" : "3";
    byId("curves-controls").addEventListener("change", redraw);
    byId("curves-download").addEventListener("click", () => download("figure4", [
      ["data and level", "run", "XLA FLOPs", "3 x MACs x images", "accuracy", "value", "epoch"],
      ...redraw(),
    ]));
    redraws.push(redraw);
    redraw();
  }

  function factorChart() {
    const groups = data.groups.filter((group) => group.factors.length);
    if (!groups.length) return;
    const ALL = "all";
    const form = byId("factor-controls").elements;
    const percent = (level) => `${Number((100 * level).toPrecision(4))} %`;
    function refill() {
      const group = groups[Number(form.factor_group.value)];
      options(form.configuration, [
        ...group.factors.map((factor, i) => [String(i), factor.name]).reverse(), [ALL, "all of them"],
      ]);
    }
    function redraw() {
      const group = groups[Number(form.factor_group.value)];
      const chosen = group.factors.map((factor, i) => ({ ...factor, i }))
        .filter(({ i }) => form.configuration.value === ALL || i === Number(form.configuration.value));
      const numbers = chosen.flatMap(({ factor, low, high }) => [...factor, ...low, ...high])
        .filter((number) => number);
      const range = [Math.min(1, ...numbers) / 1.15, Math.max(1, ...numbers) * 1.15];
      const traces = chosen.flatMap(({ name, runs, levels, factor, low, high, text, i }) => {
        const shade = CYCLE[i % 7], x = levels.map((level) => 100 * level);
        const known = levels.map((_, j) => j).filter((j) => low[j] !== null);
        // What nothing bounds is drawn to the end of the axis.
        const top = known.map((j) => high[j] ?? range[1] * 10);
        const bottom = known.map((j) => low[j] || range[0] / 10);
        const band = {
          x: [...known.map((j) => x[j]), ...known.map((j) => x[j]).reverse()],
          y: [...top, ...bottom.reverse()],
          fill: "toself", fillcolor: `${shade}33`, line: { width: 0 }, mode: "lines",
          hoverinfo: "skip", showlegend: false, legendgroup: String(i),
        };
        const line = {
          name: wrapped(`${name} (${runs})`), x, y: factor, legendgroup: String(i), mode: "lines+markers",
          hovertext: factor.map((value, j) =>
            `<b>${inert(name)}</b><br>${percent(levels[j])}: ${Number(value.toPrecision(3))} times less` +
            `<br>${inert(text[j])}`),
          hoverinfo: "text",
          marker: { symbol: MARKS[(i + Math.floor(i / 7)) % 7], size: 6, color: shade },
          line: { color: shade, width: 2 },
        };
        return known.length > 1 ? [band, line] : [line];
      });
      const rule = (changes) => ({
        type: "line", line: { color: colour("soft"), dash: "dot", width: 1 }, ...changes,
      });
      const powers = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
      draw("factor-chart", traces, {
        showlegend: true,
        xaxis: { title: { text: `level, % ${group.accuracy}` } },
        yaxis: {
          type: "log", range: range.map(Math.log10), tickvals: powers, ticktext: powers.map(String),
          title: { text: `times less than ${inert(group.base)}` },
        },
        legend: legendOfMany(),
        shapes: [
          rule({ xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1 }),
          rule({ yref: "paper", y0: 0, y1: 1, x0: 100 * group.level, x1: 100 * group.level }),
        ],
      });
      const short = (value) => Number(value.toPrecision(3));
      const sentence = ({ name, levels, factor, text }) => {
        const at = levels.indexOf(group.level);
        const ends = [Math.min(...factor), Math.max(...factor)].map(short).join(" and ");
        return (at < 0 ? `${name}: no factor at the target` :
          `${name} at ${percent(group.level)}: ${short(factor[at])} times less than ` +
          `${group.base} (${text[at]})`) +
          `; from ${percent(levels[0])} to ${percent(levels[levels.length - 1])} between ${ends}.`;
      };
      byId("factor-finding").textContent = chosen.length > 4
        ? `${chosen.length} configurations beside ${group.base}. The one with the least compute: ` +
          sentence(chosen[chosen.length - 1])
        : chosen.map(sentence).join(" ");
      return chosen.flatMap(({ name, levels, factor, low, high, runs }) => levels.map((level, j) => [
        group.data, group.accuracy, level, group.base, name, factor[j], low[j],
        low[j] === null ? null : high[j] ?? "inf", runs,
      ]));
    }
    options(form.factor_group, groups.map((group, i) => [String(i), group.label]));
    refill();
    if (groups[0].factors.length <= 4) form.configuration.value = ALL;
    byId("factor-controls").addEventListener("change", () => { refill(); redraw(); });
    byId("factor-download").addEventListener("click", () => download("factor_by_level", [
      ["data", "accuracy", "level", "from", "to", "factor", "factor, 95 % from", "factor, to", "runs"],
      ...redraw(),
    ]));
    redraws.push(redraw);
    redraw();
  }

  // Figure 2.
  function scheduleChart() {
    const epochs = Array.from({ length: 181 }, (_, i) => i / 2);
    const smooth = epochs.map((epoch) => 0.1 * 1000 ** (-epoch / 90));
    const steps = epochs.map((epoch) => 0.1 * 0.1 ** Math.min(2, Math.floor(epoch / 30)));
    function redraw() {
      const line = (name, y, shade, dash) => ({
        name, x: epochs, y, mode: "lines", line: { color: shade, dash, width: 2.5, shape: "hv" },
        hovertemplate: "epoch %{x}: %{y:.2g}<extra></extra>",
      });
      draw("schedule-chart", [
        line("smooth (the paper)", smooth, colour("best"), "solid"),
        line("steps", steps, colour("warm"), "dash"),
      ], {
        xaxis: { title: { text: "epoch" } },
        yaxis: { type: "log", dtick: 1, exponentformat: "power", title: { text: "learning rate" } },
        showlegend: true,
      });
    }
    byId("schedule-download").addEventListener("click", () => download("figure2", [
      ["epoch", "smooth", "steps"], ...epochs.map((epoch, i) => [epoch, smooth[i], steps[i]]),
    ]));
    redraws.push(redraw);
    redraw();
  }

  // Figure 5.
  function effectiveChart() {
    const form = byId("effective-controls").elements;
    const logarithmic = new Set(["compute_growth", "algorithms"]);
    const names = ["compute_growth", "algorithms", "years", "hardware_doubling_months"];
    // What the report was made with stays exact until its slider is moved.
    let inputs;
    function reset() {
      inputs = { ...data.effective };
      for (const name of names) {
        const value = logarithmic.has(name) ? Math.log10(inputs[name]) : inputs[name];
        form[name].min = Math.min(form[name].min, Math.floor(value));
        form[name].max = Math.max(form[name].max, Math.ceil(value));
        form[name].value = value;
      }
      redraw();
    }
    function redraw() {
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
      byId("effective-result").textContent =
        `${words(hardware)} (hardware) × ${words(spending)} (spending) × ` +
        `${words(inputs.algorithms)} (algorithms) = ${words(total)} times`;
      const parts = [
        ["hardware", 1, hardware], ["spending", hardware, spending],
        ["algorithms", inputs.compute_growth, inputs.algorithms], ["effective compute", 1, total],
      ];
      // A bar on a logarithmic axis from its start to start x factor: drawn in powers of ten.
      const log = Math.log10;
      const highest = Math.ceil(Math.max(1, log(total), log(inputs.compute_growth), log(hardware)));
      const lowest = Math.floor(Math.min(0, log(total), log(inputs.compute_growth)));
      const ticks = Array.from({ length: highest - lowest + 2 }, (_, i) => lowest + i);
      draw("effective-chart", [{
        type: "bar",
        x: parts.map(([name]) => name),
        base: parts.map(([, start]) => log(start)),
        y: parts.map(([, , factor]) => log(factor)),
        text: parts.map(([, , factor]) => `${words(factor)} ×`),
        textposition: "outside",
        cliponaxis: false,
        hoverinfo: "x+text",
        marker: {
          color: [colour("rest"), colour("warm"), colour("best"), "#009E73"],
          pattern: { shape: ["", "/", ".", "x"] },
        },
      }], {
        showlegend: false,
        yaxis: {
          title: { text: "growth, times" }, range: [lowest, highest + 0.6], tickvals: ticks,
          ticktext: ticks.map((power) => words(10 ** power)),
        },
      });
      return [["hardware", hardware], ["spending", spending], ["algorithms", inputs.algorithms],
              ["effective compute", total], ...names.map((name) => [name, inputs[name]])];
    }
    byId("effective-controls").addEventListener("input", (event) => {
      const { name, value } = event.target;
      inputs[name] = logarithmic.has(name) ? 10 ** Number(value) : Number(value);
      redraw();
    });
    byId("effective-reset").addEventListener("click", reset);
    byId("effective-download").addEventListener("click", () =>
      download("figure5", [["quantity", "value"], ...redraw()]));
    redraws.push(redraw);
    reset();
  }

  // Tables.
  function sorting() {
    const key = (cell) => cell.dataset.value ?? cell.textContent.trim();
    const number = (text) => (text === "inf" ? Infinity : Number(text));
    const compare = (a, b) => {
      const [x, y] = [number(a), number(b)];
      if (x === y) return 0;
      return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    };
    for (const table of document.querySelectorAll("table[data-name]")) {
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
      button.addEventListener("click", () => {
        const table = document.querySelector(`table[data-name="${button.dataset.table}"]`);
        download(button.dataset.table, [...table.rows].map((row) => [...row.cells].map(key)));
      });
    }
    for (const box of document.querySelectorAll(".verdict")) {
      box.addEventListener("change", () => {
        for (const row of document.querySelectorAll("[data-verdict]")) {
          if (row.dataset.verdict === box.value) row.hidden = !box.checked;
        }
      });
    }
  }

  frontierChart();
  curvesChart();
  factorChart();
  scheduleChart();
  effectiveChart();
  sorting();
  addEventListener("resize", redrawAll);
  root.dataset.ready = "yes";
})();
